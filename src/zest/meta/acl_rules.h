// The volume's ACL rules, as far as this client has seen them.
//
// Inodes name their rules by number; a rule never changes and is never deleted (format/01 §7.1), so
// what was read once stays right for ever. Equal rules should share a number: before a new one is
// stored, those that others stored meanwhile are read. Two clients that store the same rule at the
// same moment make two numbers of it, which is harmless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/format/types.h"
#include "zest/meta/engine.h"
#include "zest/runtime/sync.h"

namespace zest::meta {

/// Thread-safe; calls may suspend. Holds at most kRulesMax rules: the one that exceeds it makes a
/// new beginning.
class AclRules {
 public:
  static constexpr std::size_t kRulesMax = 65536;

  explicit AclRules(Engine& engine) : engine_(engine) {}
  AclRules(AclRules const&) = delete;
  AclRules& operator=(AclRules const&) = delete;

  /// The rule with this number. Corrupt (EIO) when there is none: an inode names it. No trip when
  /// it was seen before.
  Result<AclRule> find(Context const& ctx, std::uint32_t id);
  /// The number of this rule, stored anew when nobody has stored it yet. The row may stay without
  /// use when the caller's operation fails.
  Result<std::uint32_t> store(Context const& ctx, AclRule const& rule);

  /// The node as its access ACL shows it to the caller: the mode bits of owner, group and others
  /// are all set when the rule grants `mask`, all clear when not. Unchanged where mode bits decide:
  /// for root, without an ACL, and with a mode whose group bits are empty (format/05 §1.4).
  Result<Attr> judge(Context const& ctx, Attr const& node, std::uint32_t mask);

 private:
  [[nodiscard]] std::optional<AclRule> known(std::uint32_t id) const;
  [[nodiscard]] std::optional<std::uint32_t> known(std::string const& bytes) const;
  void remember(std::uint32_t id, AclRule const& rule);
  /// Reads the rules that were stored since the last time.
  Result<void> refresh(Context const& ctx);

  Engine& engine_;
  FiberMutex storing_;
  mutable std::mutex mutex_;
  std::unordered_map<std::uint32_t, AclRule> by_id_;
  std::unordered_map<std::string, std::uint32_t> by_bytes_;
  std::uint32_t seen_ = 0;  ///< the greatest number that refresh() has read
};

}  // namespace zest::meta
