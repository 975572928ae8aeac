// Builds the program of one commit; its language is described in commit.cc. Internal to commit*.cc.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "zest/base/result.h"
#include "zest/format/redis_key.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/redis/commit.h"
#include "zest/meta/engine/redis/layout.h"

namespace zest::meta::redis {

/// Some bytes of a node's record, or of what patches it.
struct Part {
  std::string where;
  std::string bytes;
};

/// The parts of a node's bytes that hold the fields of `mask`; neighbours are one part.
std::vector<Part> node_parts(Attr const& attr, std::uint32_t mask);
/// The patches of an update, in the order of apply_update().
std::vector<Part> node_patches(UpdateNode const& update);

class Encoder final {
 public:
  explicit Encoder(RedisKeys const& keys) : keys_(keys) {}

  void fence(SessionId session) {
    auto const all = use(keys_.named(redis_name::kAllSessions));
    auto const infos = use(keys_.named(redis_name::kSessionInfos));
    append(fence_, "F", all, infos, std::to_string(session.value));
  }
  void expect(Condition const& condition);
  void usage(Usage const& usage);
  Result<void> change(Change const& change);
  EncodedCommit finish() &&;

 private:
  /// A node that this commit has put (and where its bytes are among the changes) or erased.
  struct KnownNode {
    std::optional<Attr> attr;
    std::size_t at = 0;
  };

  std::string use(std::string key) {
    names_.insert(key);
    return key;
  }
  template <class... Text>
  static void append(std::vector<std::string>& out, Text&&... texts) {
    (out.emplace_back(std::forward<Text>(texts)), ...);
  }
  void begin_condition(Key key) { conditions_of_.push_back(std::move(key)); }
  void append_command_of(std::vector<std::string>& out, Command const& command) {
    use(command[1]);
    out.push_back(std::to_string(command.size()));
    out.insert(out.end(), command.begin(), command.end());
  }
  void run(Command const& command) {
    changes_.emplace_back("C");
    append_command_of(changes_, command);
  }
  /// `command key item…` in portions.
  void run_many(std::string_view command, std::string const& key,
                std::vector<std::string> const& items);

  void expect_null(Key const& key, Command const& command) {
    begin_condition(key);
    conditions_.emplace_back("?");
    append_command_of(conditions_, command);
  }
  void expect_text(Key const& key, std::string text, Command const& command) {
    begin_condition(key);
    append(conditions_, "=", std::move(text));
    append_command_of(conditions_, command);
  }
  void expect_number(Key const& key, std::string number, Command const& command) {
    begin_condition(key);
    append(conditions_, "#", std::move(number));
    append_command_of(conditions_, command);
  }
  void expect_absent(Key const& key);
  void expect_equal(Key const& key, Value const& value);
  void expect_record(Key const& key, Value const& value);
  void expect_node(Ino ino, std::uint32_t fields, Attr const& seen);
  void expect_list(ChunkKey const& key, Slices const& prefix, bool whole);
  void expect_hash(Key const& key, std::string_view step,
                   std::vector<std::pair<std::string, std::string>> const& fields);

  Result<void> put(Put const& change);
  void put_session(SessionKey const& key, SessionRecord const& record);
  void put_chunk(ChunkKey const& key, Slices const& slices);
  void put_node(Ino ino, Attr const& attr);
  void put_numbers(std::vector<Command> const& reads, std::vector<std::string> const& values);
  void put_flock(FlockKey const& key, FlockType type);
  void put_plock(PlockKey const& key, std::vector<LockRange> const& ranges);
  void unlock(std::string key, SessionId session, std::uint64_t owner);
  Result<void> erase(Key const& key);
  void erase_quota(QuotaKey const& key);
  Result<void> update(UpdateNode const& change);
  void append_slices(AppendSlices const& change);
  void replace_prefix(ReplaceChunkPrefix const& change);

  RedisKeys const& keys_;
  std::set<std::string> names_;
  std::vector<std::string> fence_;
  std::vector<std::string> conditions_;
  std::vector<std::string> changes_;
  std::vector<Key> conditions_of_;
  std::map<Ino, KnownNode> nodes_;
  std::set<Ino> expected_nodes_;
};

}  // namespace zest::meta::redis
