// etcd's requests and replies (API v3), as the store's types.
#pragma once

#include <string>
#include <string_view>

#include "zest/base/result.h"
#include "zest/meta/engine/kv/kv_store.h"

namespace zest::meta::kv::etcd {

inline constexpr std::string_view kTxnPath = "/etcdserverpb.KV/Txn";
inline constexpr std::string_view kAuthenticatePath = "/etcdserverpb.Auth/Authenticate";

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
