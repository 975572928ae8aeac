// For tests: a server whose every byte the test decides. On the calling fiber's loop.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "zest/runtime/http/message.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/socket.h"
#include "zest/runtime/sync.h"

namespace zest::http::testing {

/// A server that answers the nth request with the nth script: raw bytes, however wrong.
class ScriptedServer {
 public:
  struct Script {
    std::string reply;
    bool close = false;
    bool hang = false;
  };
  explicit ScriptedServer(std::vector<Script> scripts) : scripts_(std::move(scripts)) {
    auto listener = Listener::listen_tcp("127.0.0.1", 0);
    EXPECT_TRUE(listener.ok());
    listener_.emplace(*std::move(listener));
    context_.stop = scope_.token();
    scope_.spawn([this] { accept(); });
  }
  ~ScriptedServer() {
    scope_.request_stop();
    scope_.join();
  }
  [[nodiscard]] Url url(std::string const& path = "/x") const {
    return {.tls = false, .host = "127.0.0.1", .port = listener_->port(), .path = path};
  }
  std::vector<std::string> requests;
  int connections = 0;

 private:
  void accept() {
    for (;;) {
      auto socket = listener_->accept(context_);
      if (!socket.ok()) {
        return;
      }
      ++connections;
      auto shared = std::make_shared<Socket>(*std::move(socket));
      scope_.spawn([this, shared] { serve(*shared); });
    }
  }
  void serve(Socket& socket) {
    std::string text;
    std::vector<std::byte> buffer(65536);
    for (;;) {
      auto const end = head_size(text);
      if (end == 0) {
        auto const got = socket.read_some(context_, buffer);
        if (!got.ok() || *got == 0) {
          return;
        }
        text += as_text(ByteView(buffer).first(*got));
        continue;
      }
      auto const at = text.find("Content-Length: ");
      std::size_t const body = at < end ? std::stoul(text.substr(at + 16)) : 0;
      while (text.size() < end + body) {
        auto const got = socket.read_some(context_, buffer);
        if (!got.ok() || *got == 0) {
          return;
        }
        text += as_text(ByteView(buffer).first(*got));
      }
      requests.push_back(text.substr(0, end + body));
      text.erase(0, end + body);
      auto const script = scripts_.at(std::min(requests.size() - 1, scripts_.size() - 1));
      if (!socket.write_all(context_, as_bytes(script.reply)).ok() || script.close) {
        return;
      }
      if (script.hang) {
        (void)Loop::current()->sleep_for(context_, std::chrono::seconds(60));
        return;
      }
    }
  }

  std::vector<Script> scripts_;
  std::optional<Listener> listener_;
  Scope scope_;
  Context context_;
};

}  // namespace zest::http::testing
