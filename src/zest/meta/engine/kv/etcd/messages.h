// etcd's requests and replies (API v3), as the store's types.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/meta/engine/kv/kv_store.h"

namespace zest::meta::kv::etcd {

inline constexpr std::string_view kTxnPath = "/etcdserverpb.KV/Txn";
inline constexpr std::string_view kAuthenticatePath = "/etcdserverpb.Auth/Authenticate";

/// Writes that a server with its default of 128 operations takes: they go in nested transactions of
/// a few each, for it counts the operations of each level.
inline constexpr std::size_t kWritesNested = 32;
inline constexpr std::size_t kWritesMax = 96 * kWritesNested;

/// A transaction without comparisons that only reads.
std::string encode_read(Read const& read);
std::string encode_transaction(Transaction const& transaction);
std::string encode_authenticate(std::string_view user, std::string_view password);

/// The answer to `asked`. Corrupt: what is no such answer.
Result<ReadReply> decode_read(Read const& asked, std::string_view message);
Result<TransactionReply> decode_transaction(Transaction const& asked, std::string_view message);
/// The token that further requests carry.
Result<std::string> decode_authenticate(std::string_view message);

}  // namespace zest::meta::kv::etcd
