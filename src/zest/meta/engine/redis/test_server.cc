#include "zest/meta/engine/redis/test_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>  // NOLINT(modernize-deprecated-headers): kill
#include <spawn.h>
#include <stdlib.h>  // NOLINT(modernize-deprecated-headers): mkdtemp
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

extern char** environ;

namespace zest::meta::redis::testing {

int free_port() {
  // A cluster's nodes talk to each other 10,000 ports higher.
  constexpr int kHighest = 55'000;
  for (;;) {
    int const fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(::bind(fd, generic, size), 0);
    EXPECT_EQ(::getsockname(fd, generic, &size), 0);
    ::close(fd);
    if (int const port = ntohs(address.sin_port); port < kHighest) {
      return port;
    }
  }
}

std::string run_command(std::string const& command) {
  std::string out;
  auto* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) {
    ADD_FAILURE() << command;
    return out;
  }
  std::array<char, 4096> buffer{};
  while (auto const got = ::fread(buffer.data(), 1, buffer.size(), pipe)) {
    out.append(buffer.data(), got);
  }
  EXPECT_EQ(::pclose(pipe), 0) << command << ": " << out;
  return out;
}

TestServer::TestServer(std::vector<std::string> options, bool sentinel)
    : options_(std::move(options)), sentinel_(sentinel), port_(free_port()) {
  auto pattern = (std::filesystem::temp_directory_path() / "zest-redis-XXXXXX").string();
  folder_ = ::mkdtemp(pattern.data());
  std::ofstream config(folder_ + "/server.conf");
  config << "bind 127.0.0.1\nport " << port_ << "\ndir " << folder_ << "\n";
  if (!sentinel_) {
    config << "save \"\"\nprotected-mode no\n";
  }
  for (auto const& option : options_) {
    config << option << "\n";
  }
  config.close();
  start();
}

TestServer::~TestServer() {
  kill();
  std::filesystem::remove_all(folder_);
}

void TestServer::start() {
  auto const config = folder_ + "/server.conf";
  auto const log = folder_ + "/log";
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  std::string program = "redis-server";
  std::string path = config;
  std::string mode = "--sentinel";
  std::array<char*, 4> arguments{program.data(), path.data(), sentinel_ ? mode.data() : nullptr,
                                 nullptr};
  ASSERT_EQ(::posix_spawnp(&pid_, "redis-server", &actions, nullptr, arguments.data(), environ), 0)
      << "the package redis-server is needed";
  posix_spawn_file_actions_destroy(&actions);
  for (int tries = 0; tries < 200; ++tries) {
    // Only that something listens: a password may be needed for more.
    auto const probe =
        "timeout 1 bash -c '</dev/tcp/127.0.0.1/" + std::to_string(port_) + "' 2>/dev/null";
    if (std::system(probe.c_str()) == 0) {
      return;
    }
    // tidy: allow(sleep) waits for another process, outside of all loops
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  FAIL() << run_command("cat " + log);
}

void TestServer::kill() {
  if (pid_ > 0) {
    ::kill(pid_, SIGCONT);
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
}

void TestServer::pause() const {
  ::kill(pid_, SIGSTOP);
}
void TestServer::resume() const {
  ::kill(pid_, SIGCONT);
}

std::string TestServer::url(std::string const& rest) const {
  return "redis://127.0.0.1:" + std::to_string(port_) + rest;
}

std::string TestServer::cli(std::string const& command) const {
  return run_command("redis-cli --no-auth-warning -p " + std::to_string(port_) + " " + command);
}

}  // namespace zest::meta::redis::testing
