// Where records are in the database: for each kind of key, the commands that read it and what their
// replies mean (format/02 §3).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/result.h"
#include "zest/format/redis_key.h"
#include "zest/meta/engine.h"
#include "zest/meta/engine/redis/resp.h"
#include "zest/meta/record.h"

namespace zest::meta::redis {

using Command = std::vector<std::string>;

/// The three hashes of a kind of quota.
struct QuotaNames {
  std::string_view limits;
  std::string_view used_space;
  std::string_view used_inodes;
};
QuotaNames quota_names(QuotaType type) noexcept;

/// Reads of one record. A Child is read by a script's own step, see kChildStep.
std::vector<Command> read_commands(RedisKeys const& keys, Key const& key);
/// The keys that read_commands() or the child step touch, as far as they are known.
std::string first_key(RedisKeys const& keys, Key const& key);

/// The record from the replies to its read_commands(), normalized. Corrupt: a value that cannot be;
/// the message names the key.
Result<Value> decode_record(RedisKeys const& keys, Key const& key, std::span<Reply const> replies);

/// What a text reply holds; nothing for null. Corrupt for replies of other kinds.
Result<std::optional<std::string_view>> text_of(Reply const& reply);
/// A score of a sorted set in whole seconds. Corrupt: no number.
Result<std::int64_t> decode_score(std::string_view text);
/// Adds where the damage is.
Error at_key(Error error, std::string_view key);
/// An inode or id in decimal, nothing else.
Result<std::uint64_t> decode_id(std::string_view text);

Result<Attr> decode_node(std::string_view key, std::string_view bytes);
Result<Slices> decode_chunk(std::string_view key, std::span<Reply const> items);

}  // namespace zest::meta::redis
