#include "tests/fuzz/decoders.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "zest/base/assert.h"
#include "zest/format/acl.h"
#include "zest/format/attr.h"
#include "zest/format/cache_block.h"
#include "zest/format/changelog.h"
#include "zest/format/endian.h"
#include "zest/format/entry.h"
#include "zest/format/kv_key.h"
#include "zest/format/locks.h"
#include "zest/format/object_name.h"
#include "zest/format/redis_key.h"
#include "zest/format/sealed_block.h"
#include "zest/format/session.h"
#include "zest/format/setting.h"
#include "zest/format/slice.h"
#include "zest/format/trash.h"
#include "zest/format/usage.h"
#include "zest/meta/engine/redis/dir_cursor.h"
#include "zest/meta/engine/redis/redis.h"
#include "zest/meta/engine/redis/resp.h"
#include "zest/runtime/http/connection.h"

namespace zest {

namespace {

/// For encodings with one form only: what decodes must encode to the same bytes.
template <auto decode, auto encode>
void exact(std::string_view bytes) {
  if (auto const value = decode(bytes); value.ok()) {
    ZEST_ASSERT(encode(*value) == bytes);
  }
}

/// For encodings that also read other forms: what decodes must survive encoding.
template <auto decode, auto encode>
void stable(std::string_view bytes) {
  if (auto const value = decode(bytes); value.ok()) {
    auto const again = decode(encode(*value));
    ZEST_ASSERT(again.ok() && *again == *value);
  }
}

void run_slices(std::string_view bytes) {
  auto const records = decode_slices(bytes);
  if (!records.ok()) {
    return;
  }
  ZEST_ASSERT(encode_slices(*records) == bytes);
  std::uint64_t at = 0;
  for (auto const& piece : overlay(*records)) {
    ZEST_ASSERT(piece.pos == at && piece.len > 0);
    ZEST_ASSERT(std::uint64_t{piece.off} + piece.len <= piece.size);
    at += piece.len;
  }
  ZEST_ASSERT(at <= kChunkSize);
  auto const view = compaction_view(*records);
  ZEST_ASSERT(std::uint64_t{view.pos} + view.size <= kChunkSize + 1);
  ZEST_ASSERT(compaction_skip_count(*records) <= records->size());
}

void run_locks(std::string_view bytes) {
  auto const ranges = decode_locks(bytes);
  if (!ranges.ok()) {
    return;
  }
  ZEST_ASSERT(encode_locks(*ranges) == bytes);
  std::vector<LockRange> merged;
  for (auto const& range : *ranges) {
    merged = merge_lock(merged, range);
    find_conflict(merged, range);
  }
  ZEST_ASSERT(merged.size() <= 2 * ranges->size());
}

void run_acl_xattr(std::string_view bytes) {
  if (auto const rule = parse_acl_xattr(bytes); rule.ok()) {
    // Building writes absent owner, group and other entries too, so only complete rules come back
    // the same.
    auto const whole = fill_absent(*rule, 0);
    auto const again = parse_acl_xattr(build_acl_xattr(whole));
    ZEST_ASSERT(again.ok() && *again == whole);
    static_cast<void>(inherit_acl(whole, 07777));
  }
}

void run_setting(std::string_view bytes) {
  auto const setting = decode_setting(bytes);
  if (!setting.ok()) {
    return;
  }
  auto const again = decode_setting(encode_setting(*setting));
  ZEST_ASSERT(again.ok() && *again == *setting);
  auto copy = *setting;
  static_cast<void>(decrypt_secrets(copy));
  static_cast<void>(check_client_version(copy, kCompatibleVersion));
  static_cast<void>(raise_min_version_for_features(copy));
  static_cast<void>(validate_volume_name(copy.name));
}

void run_session(std::string_view bytes) {
  if (auto const session = decode_session(bytes); session.ok()) {
    auto const json = encode_session(*session);
    auto const again = decode_session(json);
    ZEST_ASSERT(again.ok() && encode_session(*again) == json);
  }
}

void run_block_key(std::string_view bytes) {
  for (bool const hash_prefix : {false, true}) {
    if (auto const block = parse_block_key(bytes, hash_prefix); block.ok()) {
      ZEST_ASSERT(block_key(block->id, block->index, block->size, hash_prefix) == bytes);
    }
  }
}

void run_shard_bucket(std::string_view bytes) {
  static_cast<void>(shard_bucket(bytes, 255));
}

void run_version(std::string_view bytes) {
  if (auto const order = compare_versions(bytes, bytes); order.ok()) {
    ZEST_ASSERT(*order == 0);
  }
}

void run_change_text(std::string_view bytes) {
  ZEST_ASSERT(*unescape_change(escape_change(bytes)) == bytes);
  static_cast<void>(unescape_change(bytes));
}

void run_trash_entry(std::string_view bytes) {
  if (auto const name = parse_trash_entry_name(bytes); name.ok()) {
    static_cast<void>(trash_entry_name(name->parent, name->ino, name->name));
  }
}

void run_trash_dir(std::string_view bytes) {
  if (auto const hour = parse_trash_dir_name(bytes); hour.ok()) {
    ZEST_ASSERT(trash_dir_name({*hour, 0}) == bytes);
  }
}

void run_cache_file(std::string_view bytes) {
  // The first bytes choose the block's size, the others are the file.
  ByteReader reader(bytes);
  auto const data_size = reader.be<std::uint32_t>() % (1 << 20);
  auto const file = reader.rest();
  auto const layout = cache_file_layout(file.size(), data_size);
  if (!layout.ok()) {
    return;
  }
  ZEST_ASSERT(layout->data_size + layout->checksums_size + layout->footer_size == file.size());
  auto const data = as_bytes(file.substr(0, data_size));
  static_cast<void>(
      verify_cache_checksums(data, 0, file.substr(data_size, layout->checksums_size)));
  static_cast<void>(decode_staging_footer(file.substr(data_size + layout->checksums_size)));
}

void run_sealed_block(std::string_view bytes) {
  if (auto const block = parse_sealed_block(bytes); block.ok()) {
    ZEST_ASSERT(build_seal_header(block->wrapped_key, block->nonce).append(block->sealed) == bytes);
  }
}

void run_lock_owner(std::string_view bytes) {
  if (auto const owner = parse_lock_owner(bytes); owner.ok()) {
    auto const again = parse_lock_owner(format_lock_owner(owner->session, owner->owner));
    ZEST_ASSERT(again.ok() && *again == *owner);
  }
}

void run_redis_members(std::string_view bytes) {
  stable<parse_redis_deleted_file, redis_deleted_file>(bytes);
  stable<parse_redis_delayed_key, redis_delayed_key>(bytes);
  stable<parse_redis_slice_key, redis_slice_key>(bytes);
  static_cast<void>(parse_redis_chunk_key(bytes));
  static_cast<void>(decode_decimal(bytes));
}

/// Every reply in `bytes`, fed in pieces; a count of what came out, and whether it ended in an
/// error.
std::pair<std::size_t, bool> parse_replies(std::string_view bytes, std::size_t piece) {
  meta::redis::RespParser parser(
      {.text_max = 4096, .items_max = 1024, .depth_max = 8, .reply_max = 1U << 20U});
  std::size_t count = 0;
  while (!bytes.empty()) {
    parser.feed(bytes.substr(0, piece));
    bytes.remove_prefix(std::min(piece, bytes.size()));
    for (;;) {
      auto const reply = parser.next();
      if (!reply.ok()) {
        return {count, true};
      }
      if (!*reply) {
        break;
      }
      ++count;
    }
  }
  return {count, false};
}

void run_resp(std::string_view bytes) {
  // However the network cuts it.
  auto const whole = parse_replies(bytes, std::max<std::size_t>(bytes.size(), 1));
  ZEST_ASSERT(parse_replies(bytes, 1).first == whole.first);
  ZEST_ASSERT(parse_replies(bytes, 7).first == whole.first);
}

/// A server that has sent everything already, in pieces.
class Canned final : public Stream {
 public:
  Canned(std::string_view bytes, std::size_t piece) : bytes_(bytes), piece_(piece) {}
  Result<std::size_t> read_some(Context const&, ByteSpan out) override {
    auto const n = std::min({bytes_.size(), piece_, out.size()});
    std::ranges::copy(as_bytes(bytes_.substr(0, n)), out.begin());
    bytes_.remove_prefix(n);
    return n;
  }
  Result<void> write_all(Context const&, ByteView) override { return {}; }
  void shutdown() noexcept override {}
  [[nodiscard]] bool hung_up() const noexcept override { return false; }

 private:
  std::string_view bytes_;
  std::size_t piece_;
};

/// What one request got of such a server, as text.
std::string reply_of(std::string_view bytes, std::size_t piece, std::string_view method) {
  http::Connection connection(std::make_unique<Canned>(bytes, piece), {});
  auto const reply =
      connection.exchange({}, {.method = method, .url = {}, .text_max = 4096}, "head");
  if (!reply.ok()) {
    return "error";
  }
  ZEST_ASSERT(reply->text.size() <= 4096 && reply->head.fields.size() <= http::kFieldsMax);
  return std::to_string(reply->head.status) + reply->text;
}

void run_http_reply(std::string_view bytes) {
  for (auto const* method : {"GET", "HEAD"}) {
    auto const whole = reply_of(bytes, bytes.size() + 1, method);
    ZEST_ASSERT(reply_of(bytes, 1, method) == whole);
    ZEST_ASSERT(reply_of(bytes, 7, method) == whole);
  }
}

void run_http_url(std::string_view bytes) {
  if (auto const url = http::parse_url(bytes); url.ok()) {
    auto const again =
        http::parse_url((url->tls ? "https://" : "http://") + url->authority() + url->path);
    ZEST_ASSERT(again.ok() && again->host == url->host && again->port == url->port);
  }
  static_cast<void>(http::percent_decode(bytes, true));
}

void run_dir_cursor(std::string_view bytes) {
  if (auto cursor = meta::redis::DirCursor::parse(bytes, 1); cursor.ok()) {
    cursor->take("name");
    cursor->pass(0);
    static_cast<void>(cursor->text());
  }
}

void run_redis_url(std::string_view bytes) {
  static_cast<void>(meta::parse_redis_url(bytes));
  static_cast<void>(meta::parse_redis_url(std::string("redis://").append(bytes)));
}

void run_footer(std::string_view bytes) {
  static_cast<void>(decode_staging_footer(bytes));
}

constexpr std::array kDecoders{
    Decoder{"attr", stable<decode_attr, encode_attr>},
    Decoder{"entry", exact<decode_entry, encode_entry>},
    Decoder{"slices", run_slices},
    Decoder{"delayed_slices", exact<decode_delayed_slices, encode_delayed_slices>},
    Decoder{"locks", run_locks},
    Decoder{"lock_owner", run_lock_owner},
    Decoder{"flocks", exact<decode_flocks, encode_flocks>},
    Decoder{"plocks", exact<decode_plocks, encode_plocks>},
    Decoder{"acl", exact<decode_acl, encode_acl>},
    Decoder{"acl_entries", exact<decode_acl_entries, encode_acl_entries>},
    Decoder{"acl_xattr", run_acl_xattr},
    Decoder{"counter", exact<decode_counter_le, encode_counter_le>},
    Decoder{"time", exact<decode_time_be, encode_time_be>},
    Decoder{"dir_stat", exact<decode_dir_stat, encode_dir_stat>},
    Decoder{"quota", exact<decode_quota, encode_quota>},
    Decoder{"quota_limits", exact<decode_quota_limits, encode_quota_limits>},
    Decoder{"setting", run_setting},
    Decoder{"session", run_session},
    Decoder{"kv_key", exact<decode_kv_key, encode_kv_key>},
    Decoder{"redis_members", run_redis_members},
    Decoder{"resp", run_resp},
    Decoder{"http_reply", run_http_reply},
    Decoder{"http_url", run_http_url},
    Decoder{"dir_cursor", run_dir_cursor},
    Decoder{"redis_url", run_redis_url},
    Decoder{"block_key", run_block_key},
    Decoder{"shard_bucket", run_shard_bucket},
    Decoder{"version", run_version},
    Decoder{"change_text", run_change_text},
    Decoder{"trash_entry", run_trash_entry},
    Decoder{"trash_dir", run_trash_dir},
    Decoder{"cache_file", run_cache_file},
    Decoder{"staging_footer", run_footer},
    Decoder{"sealed_block", run_sealed_block},
};

}  // namespace

std::span<Decoder const> decoders() {
  return kDecoders;
}

}  // namespace zest
