// For tests: Redis servers of one's own on loopback, with the faults that a test wants.
#pragma once

#include <string>
#include <vector>

#include <sys/types.h>

namespace zest::meta::redis::testing {

/// A free port of 127.0.0.1, most likely still free in a moment.
int free_port();

/// One process in a folder of its own, both gone with the object. A server that does not answer
/// within ten seconds fails the test.
class TestServer {
 public:
  explicit TestServer(std::vector<std::string> options = {}, bool sentinel = false);
  ~TestServer();
  TestServer(TestServer const&) = delete;
  TestServer& operator=(TestServer const&) = delete;

  /// Ends it without warning; what it had in memory only is gone.
  void kill();
  /// Starts it again on its port, with its files.
  void start();
  /// No answers until resume().
  void pause() const;
  void resume() const;

  [[nodiscard]] int port() const noexcept { return port_; }
  [[nodiscard]] std::string const& folder() const noexcept { return folder_; }
  [[nodiscard]] std::string url(std::string const& rest = "/1") const;
  /// Runs a command with redis-cli and returns what it prints.
  std::string cli(std::string const& command) const;

 private:
  std::vector<std::string> options_;
  bool sentinel_;
  int port_;
  std::string folder_;
  pid_t pid_ = -1;
};

/// What `command` prints; fails the test when it fails.
std::string run_command(std::string const& command);

}  // namespace zest::meta::redis::testing
