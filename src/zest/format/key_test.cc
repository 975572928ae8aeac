// Goal: keys of KV engines and Redis are the peer's, and decoding accepts only them.
#include <gtest/gtest.h>

#include "zest/format/counter_name.h"
#include "zest/format/kv_key.h"
#include "zest/format/redis_key.h"
#include "zest/format/test_bytes.h"
#include "zest/format/types.h"

namespace zest {
namespace {

struct KvCase {
  KvKey key;
  std::string bytes;
};

std::vector<KvCase> kv_cases() {
  return {
      {{.kind = KvKind::setting}, "setting"},
      {{.kind = KvKind::counter, .name = "nextInode"}, "CnextInode"},
      {{.kind = KvKind::node, .id = 1}, from_hex("41 0100000000000000 49")},
      {{.kind = KvKind::edge, .id = 1, .name = "a"}, from_hex("41 0100000000000000 44 61")},
      {{.kind = KvKind::parent, .id = 2, .second = 1},
       from_hex("41 0200000000000000 50 0100000000000000")},
      {{.kind = KvKind::chunk, .id = 2, .second = 1}, from_hex("41 0200000000000000 43 00000001")},
      {{.kind = KvKind::symlink, .id = 3}, from_hex("41 0300000000000000 53")},
      {{.kind = KvKind::xattr, .id = 2, .name = "user.x"},
       from_hex("41 0200000000000000 58 757365722e78")},
      {{.kind = KvKind::edge, .id = kTrashIno.value, .name = "x"},
       from_hex("41 00000010ffffff7f 44 78")},
      {{.kind = KvKind::deleted_file, .id = 2, .second = 5},
       from_hex("44 0200000000000000 0000000000000005")},
      {{.kind = KvKind::flock, .id = 2}, from_hex("46 0200000000000000")},
      {{.kind = KvKind::plock, .id = 2}, from_hex("50 0200000000000000")},
      {{.kind = KvKind::slice_ref, .id = 2, .second = 5}, from_hex("4b 0000000000000002 00000005")},
      {{.kind = KvKind::delayed_slices, .id = 2, .second = 5},
       from_hex("4c 0000000000000005 0000000000000002")},
      {{.kind = KvKind::session_expire, .id = 1}, from_hex("5345 0000000000000001")},
      {{.kind = KvKind::session_heartbeat, .id = 1}, from_hex("5348 0000000000000001")},
      {{.kind = KvKind::session_info, .id = 1}, from_hex("5349 0000000000000001")},
      {{.kind = KvKind::sustained, .id = 1, .second = 2},
       from_hex("5353 0000000000000001 0200000000000000")},
      {{.kind = KvKind::dir_stat, .id = 1}, from_hex("55 0100000000000000")},
      {{.kind = KvKind::detached, .id = 1}, from_hex("4e 0100000000000000")},
      {{.kind = KvKind::dir_quota, .id = 1}, from_hex("5144 0100000000000000")},
      {{.kind = KvKind::user_quota, .id = 1}, from_hex("5155 0000000000000001")},
      {{.kind = KvKind::group_quota, .id = 1}, from_hex("5147 0000000000000001")},
      {{.kind = KvKind::acl, .id = 1}, from_hex("52 00000001")},
      {{.kind = KvKind::token, .id = 1}, from_hex("584b44 00000001")},
      {{.kind = KvKind::change_log, .id = 1}, from_hex("584c4f47 0000000000000001")},
      {{.kind = KvKind::change_log, .id = 1, .second = 63, .has_shard = true},
       from_hex("584c4f47 3f 0000000000000001")},
  };
}

TEST(KvKey, EveryKindHasThePeersBytes) {
  for (auto const& [key, bytes] : kv_cases()) {
    EXPECT_EQ(to_hex(encode_kv_key(key)), to_hex(bytes));
    auto const decoded = decode_kv_key(bytes);
    ASSERT_TRUE(decoded.ok()) << to_hex(bytes);
    EXPECT_EQ(*decoded, key) << to_hex(bytes);
  }
}

TEST(KvKey, WhatDecodesEncodesToTheSame) {
  for (auto const& [key, bytes] : kv_cases()) {
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      auto const decoded = decode_kv_key(bytes.substr(0, size));
      EXPECT_EQ(decoded.ok() ? encode_kv_key(*decoded) : bytes.substr(0, size),
                bytes.substr(0, size));
    }
  }
  EXPECT_FALSE(decode_kv_key(from_hex("41 0100000000000000 44")).ok()) << "an empty name";
  EXPECT_FALSE(decode_kv_key("C").ok());
  EXPECT_FALSE(decode_kv_key("Z").ok());
}

TEST(KvKey, PrefixesAndTheirEnds) {
  EXPECT_EQ(to_hex(kv_prefix("/vole")), "2f766f6c65fd");
  EXPECT_EQ(to_hex(*kv_prefix_end(kv_prefix(""))), "fe");
  EXPECT_EQ(to_hex(*kv_prefix_end(from_hex("41ffff"))), "42");
  EXPECT_FALSE(kv_prefix_end(from_hex("ffff")));
  EXPECT_FALSE(kv_prefix_end(""));
  EXPECT_EQ(kv_change_log_shard((5ULL << 18) | 3, 64), (3 ^ 5) % 64);
}

TEST(RedisKey, AreThePeers) {
  RedisKeys const keys;
  Ino const ino{12};
  EXPECT_EQ(keys.node(kTrashIno), "i9223372032828243968");
  EXPECT_EQ(keys.edges(kRootIno), "d1");
  EXPECT_EQ(keys.parents(ino), "p12");
  EXPECT_EQ(keys.chunk(ino, ChunkIndex{3}), "c12_3");
  EXPECT_EQ(keys.symlink(ino), "s12");
  EXPECT_EQ(keys.xattrs(ino), "x12");
  EXPECT_EQ(keys.flocks(ino), "lockf12");
  EXPECT_EQ(keys.plocks(ino), "lockp12");
  EXPECT_EQ(keys.locked(SessionId{1}), "locked1");
  EXPECT_EQ(keys.sustained(SessionId{1}), "session1");
  EXPECT_EQ(keys.counter(kNextInode), "nextinode");
  EXPECT_EQ(keys.counter(kNextChunk), "nextchunk");
  EXPECT_EQ(keys.counter(kNextSession), "nextsession");
  EXPECT_EQ(keys.counter(kNextTrash), "nextTrash");
  EXPECT_EQ(RedisKeys(RedisKeys::cluster_prefix(3)).chunk(ino, ChunkIndex{3}), "{3}c12_3");
  EXPECT_EQ(RedisKeys("{3}").named(redis_name::kSetting), "{3}setting");
}

TEST(RedisKey, MembersRoundTripAndRefuse) {
  EXPECT_EQ(redis_deleted_file({Ino{2}, 5}), "2:5");
  EXPECT_EQ(*parse_redis_deleted_file("2:5"), (DeletedFile{Ino{2}, 5}));
  EXPECT_EQ(redis_delayed_key({SliceId{10}, 1795415515}), "10_1795415515");
  EXPECT_EQ(*parse_redis_delayed_key("10_1795415515"), (DelayedKey{SliceId{10}, 1795415515}));
  EXPECT_EQ(redis_slice_key({SliceId{10}, 5}), "k10_5");
  EXPECT_EQ(*parse_redis_slice_key("k10_5"), (SliceKey{SliceId{10}, 5}));
  EXPECT_EQ(*parse_redis_chunk_key("c12_3"), (ChunkKey{Ino{12}, ChunkIndex{3}}));
  for (auto const* bad :
       {"", ":", "2:", ":5", "2:5:6", "2_5", "2:5x", "a:b", "18446744073709551616:1"}) {
    EXPECT_FALSE(parse_redis_deleted_file(bad).ok()) << bad;
  }
  for (auto const* bad : {"", "k", "k_", "10_5", "k10_4294967296", "k10_5_6"}) {
    EXPECT_FALSE(parse_redis_slice_key(bad).ok()) << bad;
  }
  for (auto const* bad : {"", "c", "c12", "i12_3", "c12_4294967296"}) {
    EXPECT_FALSE(parse_redis_chunk_key(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace zest
