// Goal: every request is decoded to what the kernel meant, and no bytes whatsoever are read out of
// bounds. Method: requests laid out by hand; every truncation; seeded mutations.
#include <gtest/gtest.h>

#include <random>

#include "zest/fuse/fuzz_decode.h"
#include "zest/fuse/protocol.h"
#include "zest/fuse/test_request.h"
#include "zest/object/testing/expect.h"

namespace zest::fuse {
namespace {

using testing::bytes_of;
using testing::make_request;
using testing::zero_terminated;

/// Decodes a request that came through /dev/fuse.
Result<Request> decode_bytes(std::string const& bytes, DecodeOptions const& options = {}) {
  ZEST_TRY(auto raw, split_device_request(as_bytes(bytes)));
  return decode(raw, options);
}

template <class T>
T decoded(std::string const& bytes, DecodeOptions const& options = {}) {
  auto request = decode_bytes(bytes, options);
  EXPECT_TRUE(request.ok());
  if (!request.ok() || !std::holds_alternative<T>(*request)) {
    ADD_FAILURE() << "not the expected request";
    return T{};
  }
  return std::get<T>(*request);
}

TEST(Decode, LookupHasParentAndName) {
  auto const bytes = make_request(FUSE_LOOKUP, zero_terminated("file"));
  auto const in = decoded<Lookup>(bytes);
  EXPECT_EQ(in.parent, Ino{7});
  EXPECT_EQ(in.name, "file");
}

TEST(Decode, NamesThatCannotBeAreRefused) {
  for (std::string const& name : {std::string(), std::string("a/b"), std::string("/")}) {
    ASSERT_ERRC(decode_bytes(make_request(FUSE_LOOKUP, zero_terminated(name))), Errc::inval);
    ASSERT_ERRC(decode_bytes(make_request(FUSE_UNLINK, zero_terminated(name))), Errc::inval);
  }
  ASSERT_ERRC(decode_bytes(make_request(FUSE_LOOKUP, "unterminated")), Errc::inval);
  ASSERT_ERRC(decode_bytes(make_request(FUSE_LOOKUP, "")), Errc::inval);
}

TEST(Decode, LengthFieldMustAgree) {
  auto bytes = make_request(FUSE_LOOKUP, zero_terminated("x"));
  bytes.push_back('\0');
  ASSERT_ERRC(decode_bytes(bytes), Errc::inval);
  ASSERT_ERRC(decode_bytes(bytes.substr(0, 39)), Errc::inval);
  ASSERT_ERRC(decode_bytes(""), Errc::inval);
}

TEST(Decode, ExtensionsAreCutOff) {
  auto bytes = make_request(FUSE_LOOKUP, zero_terminated("x") + std::string(8, 'E'));
  fuse_in_header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header.total_extlen = 1;
  std::memcpy(bytes.data(), &header, sizeof header);
  auto const raw = split_device_request(as_bytes(bytes));
  ASSERT_OK(raw);
  EXPECT_EQ(raw->payload.size(), 2u);
  header.total_extlen = 2;  // more than there is
  std::memcpy(bytes.data(), &header, sizeof header);
  ASSERT_ERRC(split_device_request(as_bytes(bytes)), Errc::inval);
}

TEST(Decode, GetattrTakesTheHandleOnlyWithItsFlag) {
  fuse_getattr_in in{.getattr_flags = FUSE_GETATTR_FH, .dummy = 0, .fh = 9};
  auto with = decoded<Getattr>(make_request(FUSE_GETATTR, bytes_of(in)));
  EXPECT_EQ(with.handle, vfs::Handle{9});
  in.getattr_flags = 0;
  auto without = decoded<Getattr>(make_request(FUSE_GETATTR, bytes_of(in)));
  EXPECT_EQ(without.handle, std::nullopt);
  EXPECT_EQ(without.ino, Ino{7});
}

TEST(Decode, SetattrTakesOnlyWhatIsValid) {
  fuse_setattr_in in{};
  in.mode = 0100640;
  in.uid = 5;
  in.gid = 6;
  in.size = 1234;
  in.atime = static_cast<std::uint64_t>(std::int64_t{-1});
  in.atimensec = 999'999'999;
  in.fh = 3;
  auto none = decoded<Setattr>(make_request(FUSE_SETATTR, bytes_of(in))).request;
  EXPECT_FALSE(none.attrs.mode || none.attrs.uid || none.attrs.gid || none.size ||
               none.attrs.atime || none.handle || none.kill_suidgid);
  in.valid = FATTR_MODE | FATTR_UID | FATTR_GID | FATTR_SIZE | FATTR_ATIME | FATTR_MTIME |
             FATTR_MTIME_NOW | FATTR_FH | FATTR_KILL_SUIDGID;
  auto all = decoded<Setattr>(make_request(FUSE_SETATTR, bytes_of(in))).request;
  EXPECT_EQ(all.attrs.ino, Ino{7});
  EXPECT_EQ(all.attrs.mode, 0640);
  EXPECT_EQ(all.attrs.uid, 5u);
  EXPECT_EQ(all.attrs.gid, 6u);
  EXPECT_EQ(all.size, 1234u);
  EXPECT_EQ(all.attrs.atime, (WallTime{-1, 999'999'999}));
  EXPECT_FALSE(all.attrs.mtime);
  EXPECT_TRUE(all.attrs.mtime_now);
  EXPECT_EQ(all.handle, vfs::Handle{3});
  EXPECT_TRUE(all.kill_suidgid);
  in.atimensec = 1'000'000'000;
  ASSERT_ERRC(decode_bytes(make_request(FUSE_SETATTR, bytes_of(in))), Errc::inval);
}

TEST(Decode, MknodHasTypeModeUmaskAndDevice) {
  fuse_mknod_in const in{.mode = 0020666, .rdev = 259, .umask = 022, .padding = 0};
  auto const bytes = make_request(FUSE_MKNOD, bytes_of(in) + zero_terminated("null"));
  auto const request = decoded<Mknod>(bytes).request;
  EXPECT_EQ(request.type, FileType::char_device);
  EXPECT_EQ(request.mode, 0666);
  EXPECT_EQ(request.umask, 022);
  EXPECT_EQ(request.rdev, 259u);
  EXPECT_EQ(request.name, "null");
  EXPECT_EQ(decoded<Mknod>(bytes, {.umask = 077}).request.umask, 077);
}

TEST(Decode, MknodMakesNoDirectory) {
  fuse_mknod_in const in{.mode = 0040755, .rdev = 0, .umask = 0, .padding = 0};
  ASSERT_ERRC(decode_bytes(make_request(FUSE_MKNOD, bytes_of(in) + zero_terminated("d"))),
              Errc::inval);
}

TEST(Decode, MkdirIsADirectory) {
  fuse_mkdir_in const in{.mode = 01777, .umask = 022};
  auto const bytes = make_request(FUSE_MKDIR, bytes_of(in) + zero_terminated("d"));
  auto const request = decoded<Mkdir>(bytes).request;
  EXPECT_EQ(request.type, FileType::directory);
  EXPECT_EQ(request.mode, 01777);
}

TEST(Decode, CreateAndTmpfile) {
  fuse_create_in const in{.flags = 0x8042, .mode = 0100600, .umask = 022, .open_flags = 0};
  auto const create = make_request(FUSE_CREATE, bytes_of(in) + zero_terminated("f"));
  EXPECT_EQ(decoded<Create>(create).flags, 0x8042u);
  EXPECT_EQ(decoded<Create>(create).request.name, "f");
  // The kernel names the unnamed file "/".
  auto const tmpfile = make_request(FUSE_TMPFILE, bytes_of(in) + zero_terminated("/"));
  EXPECT_EQ(decoded<Tmpfile>(tmpfile).request.name, "");
  EXPECT_EQ(decoded<Tmpfile>(tmpfile).request.parent, Ino{7});
}

TEST(Decode, RenameHasTwoNames) {
  fuse_rename2_in in{.newdir = 8, .flags = 1, .padding = 0};
  auto const names = zero_terminated("old") + zero_terminated("new");
  auto const bytes = make_request(FUSE_RENAME2, bytes_of(in) + names);
  auto const request = decoded<Rename>(bytes).request;
  EXPECT_EQ(request.parent, Ino{7});
  EXPECT_EQ(request.new_parent, Ino{8});
  EXPECT_EQ(request.name, "old");
  EXPECT_EQ(request.new_name, "new");
  EXPECT_EQ(request.flags, 1u);
  auto const old = make_request(FUSE_RENAME, bytes_of(fuse_rename_in{8}) + names);
  EXPECT_EQ(decoded<Rename>(old).request.flags, 0u);
  ASSERT_ERRC(decode_bytes(make_request(FUSE_RENAME2, bytes_of(in) + zero_terminated("old"))),
              Errc::inval);
  in.flags = meta::kRenameRestore;  // not the kernel's to ask for
  ASSERT_ERRC(decode_bytes(make_request(FUSE_RENAME2, bytes_of(in) + names)), Errc::inval);
}

TEST(Decode, SymlinkAndLink) {
  auto const symlink =
      make_request(FUSE_SYMLINK, zero_terminated("name") + zero_terminated("../to/x"));
  EXPECT_EQ(decoded<Symlink>(symlink).name, "name");
  EXPECT_EQ(decoded<Symlink>(symlink).target, "../to/x");
  auto const link = make_request(FUSE_LINK, bytes_of(fuse_link_in{5}) + zero_terminated("n"));
  EXPECT_EQ(decoded<Link>(link).ino, Ino{5});
  EXPECT_EQ(decoded<Link>(link).new_parent, Ino{7});
}

TEST(Decode, WriteRefersToItsBytes) {
  fuse_write_in in{};
  in.fh = 2;
  in.offset = 1u << 20;
  in.size = 5;
  in.write_flags = FUSE_WRITE_KILL_SUIDGID;
  auto const bytes = make_request(FUSE_WRITE, bytes_of(in) + "hello");
  auto const write = decoded<Write>(bytes);
  EXPECT_EQ(as_text(write.bytes), "hello");
  EXPECT_EQ(write.offset, 1u << 20);
  EXPECT_TRUE(write.kill_suidgid);
  in.size = 6;  // more than arrived
  ASSERT_ERRC(decode_bytes(make_request(FUSE_WRITE, bytes_of(in) + "hello")), Errc::inval);
}

TEST(Decode, ReleaseDropsTheFlockOnlyWhenTold) {
  fuse_release_in in{};
  in.fh = 2;
  in.lock_owner = 77;
  EXPECT_FALSE(decoded<Release>(make_request(FUSE_RELEASE, bytes_of(in))).flock_owner);
  in.release_flags = FUSE_RELEASE_FLOCK_UNLOCK;
  EXPECT_EQ(decoded<Release>(make_request(FUSE_RELEASE, bytes_of(in))).flock_owner, 77u);
  EXPECT_EQ(decoded<Releasedir>(make_request(FUSE_RELEASEDIR, bytes_of(in))).handle.value, 2u);
}

TEST(Decode, SetxattrInBothLengths) {
  fuse_setxattr_in const in{.size = 3, .flags = 1, .setxattr_flags = 0, .padding = 0};
  auto const rest = zero_terminated("user.a") + std::string("\0b\1", 3);
  auto const bytes = make_request(FUSE_SETXATTR, bytes_of(in) + rest);
  auto const longer = decoded<Setxattr>(bytes);
  EXPECT_EQ(longer.name, "user.a");
  EXPECT_EQ(longer.value, std::string("\0b\1", 3));
  auto const short_bytes =
      make_request(FUSE_SETXATTR, bytes_of(in).substr(0, FUSE_COMPAT_SETXATTR_IN_SIZE) + rest);
  auto const shorter = decoded<Setxattr>(short_bytes, {.setxattr_ext = false});
  EXPECT_EQ(shorter.name, "user.a");
  EXPECT_EQ(shorter.value, std::string("\0b\1", 3));
  EXPECT_EQ(shorter.flags, 1u);
  EXPECT_FALSE(longer.kill_setgid);
  fuse_setxattr_in const acl{
      .size = 3, .flags = 0, .setxattr_flags = FUSE_SETXATTR_ACL_KILL_SGID, .padding = 0};
  EXPECT_TRUE(decoded<Setxattr>(make_request(FUSE_SETXATTR, bytes_of(acl) + rest)).kill_setgid);
}

TEST(Decode, LocksKeepOwnerRangeAndKind) {
  fuse_lk_in in{};
  in.fh = 2;
  in.owner = 0xABCDEF;
  in.lk = {.start = 10, .end = 20, .type = 1, .pid = 42};
  auto const waiting = decoded<Setlk>(make_request(FUSE_SETLKW, bytes_of(in)));
  EXPECT_TRUE(waiting.lock.wait);
  EXPECT_FALSE(waiting.flock);
  EXPECT_EQ(waiting.lock.owner, 0xABCDEFu);
  EXPECT_EQ(waiting.lock.range, (LockRange{LockRange::Type::write, 42, 10, 20}));
  in.lk_flags = FUSE_LK_FLOCK;
  EXPECT_TRUE(decoded<Setlk>(make_request(FUSE_SETLK, bytes_of(in))).flock);
  EXPECT_FALSE(decoded<Setlk>(make_request(FUSE_SETLK, bytes_of(in))).lock.wait);
  in.lk.type = 3;
  ASSERT_ERRC(decode_bytes(make_request(FUSE_SETLK, bytes_of(in))), Errc::inval);
  in.lk = {.start = 21, .end = 20, .type = 1, .pid = 42};
  ASSERT_ERRC(decode_bytes(make_request(FUSE_GETLK, bytes_of(in))), Errc::inval);
}

TEST(Decode, CopyFileRangeInBothForms) {
  fuse_copy_file_range_in const in{
      .fh_in = 1, .off_in = 2, .nodeid_out = 3, .fh_out = 4, .off_out = 5, .len = 6, .flags = 0};
  auto const narrow = decoded<CopyFileRange>(make_request(FUSE_COPY_FILE_RANGE, bytes_of(in)));
  auto const wide = decoded<CopyFileRange>(make_request(abi::kOpCopyFileRange64, bytes_of(in)));
  EXPECT_FALSE(narrow.wide_reply);
  EXPECT_TRUE(wide.wide_reply);
  EXPECT_EQ(wide.request.in, Ino{7});
  EXPECT_EQ(wide.request.out, Ino{3});
  EXPECT_EQ(wide.request.offset_out, 5u);
}

TEST(Decode, UnknownOperationsAreUnsupported) {
  for (std::uint32_t const op : {FUSE_BMAP + 0u, FUSE_POLL + 0u, FUSE_SYNCFS + 0u, abi::kOpStatx,
                                 7u, 54u, 4096u, 0xFFFFFFFFu}) {
    decoded<Unsupported>(make_request(op, std::string(256, '\0')));
  }
}

TEST(Decode, RingRequestsKeepTheirPlaces) {
  abi::UringRequestHeader headers{};
  fuse_in_header header{};
  header.opcode = FUSE_WRITE;
  header.nodeid = 7;
  fuse_write_in in{};
  in.size = 5;
  in.fh = 3;
  std::memcpy(headers.in_out, &header, sizeof header);
  std::memcpy(headers.op_in, &in, sizeof in);
  headers.ent.payload_size = 5;
  std::string const payload = "hello and what an earlier request left";
  auto raw = split_ring_request(headers, as_bytes(payload));
  ASSERT_OK(raw);
  auto request = decode(*raw, {});
  ASSERT_OK(request);
  EXPECT_EQ(as_text(std::get<Write>(*request).bytes), "hello");
  headers.ent.payload_size = 1000;
  ASSERT_ERRC(split_ring_request(headers, as_bytes(payload)), Errc::inval);
}

/// One request of each operation, with a payload that suits it.
std::vector<std::string> samples() {
  std::vector<std::string> out;
  for (std::uint32_t op = 0; op < abi::kOpcodeEnd; ++op) {
    std::string argument(argument_size(op), '\0');
    for (std::size_t i = 0; i < argument.size(); i += 5) {
      argument[i] = static_cast<char>(i % 3);
    }
    out.push_back(make_request(op, argument + zero_terminated("name") + zero_terminated("other")));
  }
  return out;
}

TEST(Decode, EveryTruncationIsHarmless) {
  for (auto const& sample : samples()) {
    for (std::size_t length = 0; length <= sample.size(); ++length) {
      for (char const choice : {'\0', '\1', '\2', '\6'}) {
        fuzz_decode(as_bytes(std::string(1, choice) + sample.substr(0, length)));
      }
    }
  }
}

TEST(Decode, SeededMutationsAreHarmless) {
  for (auto const& sample : samples()) {
    for (std::uint32_t seed = 0; seed < 500; ++seed) {
      SCOPED_TRACE(seed);
      std::mt19937 random(seed);
      auto bytes = std::string(1, static_cast<char>(random())) + sample;
      for (auto count = 1 + random() % 6; count > 0; --count) {
        bytes[random() % bytes.size()] = static_cast<char>(random());
      }
      bytes.resize(bytes.size() - random() % 8 + random() % 8);
      fuzz_decode(as_bytes(bytes));
    }
  }
}

}  // namespace
}  // namespace zest::fuse
