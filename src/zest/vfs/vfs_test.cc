// Names, nodes, handles, virtual files, locks of a mounted volume.
#include <algorithm>
#include <chrono>
#include <set>
#include <span>

#include "zest/format/acl.h"
#include "zest/vfs/vfs_fixture.h"

namespace zest {
namespace {

using namespace std::chrono_literals;
using testing::Client;
using testing::ClientOptions;
using testing::run_simulated;
using testing::Volume;
using vfs::Handle;

constexpr Ino kStats{0x7FFFFFFF00000003};

// Goal: what a program writes into a new file is there after close, for the writer and for a
// second client.
TEST(Vfs, CreateWriteCloseReadElsewhere) {
  run_simulated([] {
    Volume volume;
    Client one(volume);
    Client two(volume);
    auto made =
        one.fs.create(one.ctx, {.parent = kRootIno, .name = "f", .mode = 0644}, O_RDWR | O_CREAT);
    ASSERT_OK(made);
    ASSERT_OK(one.write(made->open.handle, 0, "hello world"));
    EXPECT_EQ(one.attr(made->entry.ino).length, 11u);
    EXPECT_EQ(one.read(made->open.handle, 6, 100), "world");
    ASSERT_OK(one.close(made->open.handle));
    auto found = two.fs.lookup(two.ctx, kRootIno, "f");
    ASSERT_OK(found);
    EXPECT_EQ(found->attr.length, 11u);
    auto const handle = two.open(found->ino, O_RDONLY);
    EXPECT_EQ(two.read(handle, 0, 100), "hello world");
    ASSERT_ERRC(two.write(handle, 0, "x"), Errc::badf);
    ASSERT_OK(two.close(handle));
  });
}

// Goal: create without O_EXCL opens the file that is there; with it EEXIST.
TEST(Vfs, CreateOfExistingFile) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const ino = client.make_file("f");
    auto again =
        client.fs.create(client.ctx, {.parent = kRootIno, .name = "f", .mode = 0600}, O_RDWR);
    ASSERT_OK(again);
    EXPECT_EQ(again->entry.ino, ino);
    EXPECT_EQ(again->entry.attr.mode, 0644);
    ASSERT_OK(client.close(again->open.handle));
    ASSERT_ERRC(client.fs.create(client.ctx, {.parent = kRootIno, .name = "f"}, O_RDWR | O_EXCL),
                Errc::exist);
    ASSERT_OK(client.fs.mkdir(client.ctx, {.parent = kRootIno, .name = "d", .mode = 0755}));
    ASSERT_ERRC(client.fs.create(client.ctx, {.parent = kRootIno, .name = "d"}, O_RDWR),
                Errc::isdir);
  });
}

// Goal: names that belong to the file system are protected, in the root only.
TEST(Vfs, ReservedNames) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const& ctx = client.ctx;
    for (auto const* name : {".stats", ".config", ".accesslog", ".control", ".trash"}) {
      SCOPED_TRACE(name);
      ASSERT_ERRC(client.fs.mknod(ctx, {.parent = kRootIno, .name = name}), Errc::exist);
      ASSERT_ERRC(client.fs.mkdir(ctx, {.parent = kRootIno, .name = name}), Errc::exist);
      ASSERT_ERRC(client.fs.unlink(ctx, kRootIno, name), Errc::perm);
      ASSERT_ERRC(client.fs.rmdir(ctx, kRootIno, name), Errc::perm);
    }
    client.make_file("a");
    ASSERT_ERRC(
        client.fs.rename(
            ctx, {.parent = kRootIno, .name = "a", .new_parent = kRootIno, .new_name = ".stats"}),
        Errc::perm);
    auto const dir = client.fs.mkdir(ctx, {.parent = kRootIno, .name = "d", .mode = 0755});
    ASSERT_OK(dir);
    ASSERT_OK(client.fs.mknod(ctx, {.parent = dir->ino, .name = ".stats"}));
    ASSERT_ERRC(client.fs.lookup(ctx, kRootIno, std::string(256, 'x')), Errc::nametoolong);
    ASSERT_ERRC(client.fs.symlink(ctx, kRootIno, "s", std::string(4096, 'x')), Errc::nametoolong);
    ASSERT_OK(client.fs.symlink(ctx, kRootIno, "s", std::string(4095, 'x')));
  });
}

// Goal: virtual files can be read, not written, and follow prefix and hiding.
TEST(Vfs, VirtualFiles) {
  run_simulated([] {
    Volume volume;
    volume.setting.secret_key = "do-not-show";
    Client client(volume);
    auto const& ctx = client.ctx;
    auto const stats = client.fs.lookup(ctx, kRootIno, ".stats");
    ASSERT_OK(stats);
    EXPECT_EQ(stats->ino, kStats);
    EXPECT_EQ(stats->attr.mode, 0444);
    ASSERT_ERRC(client.fs.open(ctx, kStats, O_RDWR), Errc::acces);
    auto const handle = client.fs.open(ctx, kStats, O_RDONLY);
    ASSERT_OK(handle);
    EXPECT_TRUE(handle->direct_io);
    auto const text = client.read(handle->handle, 0, 1u << 20);
    EXPECT_NE(text.find("juicefs_compact_size_histogram_bytes_total 0\n"), std::string::npos);
    EXPECT_EQ(client.read(handle->handle, 3, 10), text.substr(3, 10));
    ASSERT_OK(client.close(handle->handle));

    auto const config = client.fs.lookup(ctx, kRootIno, ".config");
    ASSERT_OK(config);
    auto const open = client.open(config->ino, O_RDONLY);
    auto const json = client.read(open, 0, 1u << 20);
    EXPECT_NE(json.find("\"Mountpoint\": \"/mnt/test\""), std::string::npos) << json;
    EXPECT_NE(json.find("\"SecretKey\": \"removed\""), std::string::npos);
    EXPECT_EQ(json.find("do-not-show"), std::string::npos);
    EXPECT_EQ(client.attr(config->ino).length, json.size());
    ASSERT_OK(client.close(open));
    auto const names = client.list(kRootIno);
    EXPECT_EQ(names, (std::vector<std::string>{".", "..", ".accesslog", ".stats", ".config"}));
    ClientOptions hidden;
    hidden.vfs.hide_internal = true;
    hidden.vfs.prefix_internal = true;
    Client other(volume, hidden);
    EXPECT_EQ(other.list(kRootIno), (std::vector<std::string>{".", ".."}));
    ASSERT_OK(other.fs.lookup(ctx, kRootIno, ".jfs.stats"));
    ASSERT_ERRC(other.fs.lookup(ctx, kRootIno, ".stats"), Errc::noent);
  });
}

std::string control_request(std::uint32_t command, std::string const& payload) {
  std::string out;
  for (auto const number : {command, static_cast<std::uint32_t>(payload.size())}) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      out.push_back(static_cast<char>(number >> shift));
    }
  }
  return out + payload;
}

// A clone of `from` as `name` in the root, without umask; `mode` 2 preserves.
std::string clone_payload(Ino from, std::string_view name) {
  std::string out;
  for (auto const ino : {from, kRootIno, kRootIno}) {
    for (int shift = 56; shift >= 0; shift -= 8) {
      out.push_back(static_cast<char>(ino.value >> shift));
    }
  }
  out.push_back(static_cast<char>(name.size()));
  out.append(name).append(2, '\0').push_back('\2');
  return out;
}

// Goal: `.control` is there in every directory, takes a clone in one or more writes, and answers
// behind the request; what it does not understand is EINVAL, what is too long EIO.
TEST(Vfs, ControlFileClones) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const ino = client.make_file("f");
    auto handle = client.open(ino);
    ASSERT_OK(client.write(handle, 0, "shared"));
    ASSERT_OK(client.close(handle));
    auto const dir = client.fs.mkdir(client.ctx, {.parent = kRootIno, .name = "d", .mode = 0755});
    auto const control = client.fs.lookup(client.ctx, dir->ino, ".control");
    ASSERT_OK(control);
    EXPECT_EQ(control->attr.mode, 0666);
    ASSERT_ERRC(client.fs.unlink(client.ctx, kRootIno, ".control"), Errc::perm);

    auto const ask = [&](std::string const& request) {
      handle = client.open(control->ino);
      EXPECT_EQ(client.read(handle, 0, 100), "");
      ASSERT_OK(client.write(handle, 0, request.substr(0, 5)));
      ASSERT_OK(client.write(handle, 5, request.substr(5)));
      ASSERT_OK(Loop::current()->sleep_for({}, std::chrono::seconds(1)));
    };
    auto const request = control_request(1006, clone_payload(ino, "copy"));
    ask(request);
    auto const answer = client.read(handle, request.size(), 100);
    EXPECT_EQ(answer, std::string("\xFE\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0", 18));
    EXPECT_EQ(client.read(handle, request.size() + 18, 100), "");
    ASSERT_OK(client.close(handle));
    auto const copy = client.fs.lookup(client.ctx, kRootIno, "copy");
    ASSERT_OK(copy);
    handle = client.open(copy->ino);
    EXPECT_EQ(client.read(handle, 0, 100), "shared");
    ASSERT_OK(client.close(handle));

    for (auto const& [bad, status] :
         {std::pair(control_request(1006, clone_payload(ino, "copy")), EEXIST),
          std::pair(control_request(1006, "short"), EINVAL),
          std::pair(control_request(4711, "x"), EINVAL),
          std::pair(control_request(1006, "") + "more", EIO)}) {
      ask(bad);
      auto const said = client.read(handle, bad.size(), 100);
      ASSERT_FALSE(said.empty());
      EXPECT_EQ(said.back(), static_cast<char>(status));
      ASSERT_OK(client.close(handle));
    }
    EXPECT_EQ(volume.object_count(), 1u);
  });
}

// Goal: `.accesslog` shows operations of others in the peer's form while it is open.
TEST(Vfs, AccessLog) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    client.make_file("before");
    auto const log = client.open(Ino{0x7FFFFFFF00000001}, O_RDONLY);
    client.ctx.caller = {.uid = 5, .gid = 6, .pid = 7};
    client.make_file("f1");
    EXPECT_TRUE(failed_with(client.fs.lookup(client.ctx, kRootIno, "none"), Errc::noent));
    auto const lines = client.read(log, 0, 1u << 16);
    EXPECT_EQ(lines.find("before"), std::string::npos);
    EXPECT_NE(lines.find(" [uid:5,gid:6,pid:7] mknod (1,f1,"), std::string::npos) << lines;
    EXPECT_NE(lines.find("-rw-r--r--:0100644,1,5,6,"), std::string::npos) << lines;
    EXPECT_NE(lines.find("lookup (1,none) - No such file or directory <0."), std::string::npos)
        << lines;
    EXPECT_EQ(client.read(log, 0, 1u << 16), "#\n");
    ASSERT_OK(client.close(log));
  });
}

// Goal: a listing has every name once, whatever the buffer size, and an earlier cookie continues
// exactly behind its entry although entries were removed meanwhile.
TEST(Vfs, ListingCookies) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const dir = client.fs.mkdir(client.ctx, {.parent = kRootIno, .name = "d", .mode = 0755});
    ASSERT_OK(dir);
    std::set<std::string> expected{".", ".."};
    for (int i = 0; i < 3000; ++i) {
      auto const name = "file" + std::to_string(i);
      client.make_file(name, dir->ino);
      expected.insert(name);
    }
    auto const names = client.list(dir->ino, true);
    EXPECT_EQ(names.size(), expected.size());
    EXPECT_EQ(std::set<std::string>(names.begin(), names.end()), expected);

    auto const opened = client.fs.opendir(client.ctx, dir->ino);
    ASSERT_OK(opened);
    std::vector<std::pair<std::string, std::uint64_t>> order;
    ASSERT_OK(client.fs.readdir(client.ctx, opened->handle, 0, false, [&](auto const& item) {
      order.emplace_back(item.name, item.next_offset);
      return true;
    }));
    ASSERT_EQ(order.size(), 3002u);
    // All pages but the last ones are forgotten now; every seventh entry goes.
    for (std::size_t i = 2; i < order.size(); i += 7) {
      ASSERT_OK(client.fs.unlink(client.ctx, dir->ino, order[i].first));
    }
    for (std::size_t at : {3u, 500u, 1027u, 2001u, 3001u}) {
      SCOPED_TRACE(at);
      std::vector<std::string> seen;
      ASSERT_OK(client.fs.readdir(client.ctx, opened->handle, order[at].second, false,
                                  [&](auto const& item) {
                                    seen.emplace_back(item.name);
                                    return true;
                                  }));
      std::vector<std::string> want;
      for (std::size_t i = at + 1; i < order.size(); ++i) {
        want.push_back(order[i].first);
      }
      // Entries that are gone may be missing, all others are there in order.
      std::vector<std::string> alive;
      for (std::size_t i = at + 1; i < order.size(); ++i) {
        bool const removed = (i - 2) % 7 == 0;
        bool const shown = std::ranges::find(seen, order[i].first) != seen.end();
        if (!removed || shown) {
          alive.push_back(order[i].first);
        }
      }
      EXPECT_EQ(seen, alive);
    }
    client.fs.releasedir(client.ctx, opened->handle);
  });
}

// Goal: readdirplus never hands out what this client changed or removed since the page was read.
TEST(Vfs, ReaddirPlusIsNotOutdated) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    for (int i = 0; i < 4; ++i) {
      client.make_file("f" + std::to_string(i));
    }
    auto const opened = client.fs.opendir(client.ctx, kRootIno);
    ASSERT_OK(opened);
    std::uint64_t offset = 0;
    std::string first;
    Ino chmodded;
    ASSERT_OK(client.fs.readdir(client.ctx, opened->handle, 0, true, [&](auto const& item) {
      bool const take = first.empty();
      if (take && item.name.starts_with("f")) {
        first = item.name;
      }
      offset = take ? item.next_offset : offset;
      return take;
    }));
    auto const last = client.fs.lookup(client.ctx, kRootIno, "f3");
    ASSERT_OK(last);
    chmodded = last->ino;
    ASSERT_OK(client.fs.setattr(client.ctx, {.attrs = {.ino = chmodded, .mode = 0600}}));
    ASSERT_OK(client.fs.unlink(client.ctx, kRootIno, "f2"));
    std::map<std::string, bool> with_attr;
    ASSERT_OK(client.fs.readdir(client.ctx, opened->handle, offset, true, [&](auto const& item) {
      with_attr[std::string(item.name)] = item.attr != nullptr;
      return true;
    }));
    EXPECT_TRUE(with_attr["f1"]);
    EXPECT_FALSE(with_attr["f2"]);
    EXPECT_FALSE(with_attr["f3"]);
    client.fs.releasedir(client.ctx, opened->handle);
  });
}

// Goal: an unlinked open file keeps its data; they go with the last close.
TEST(Vfs, UnlinkedOpenFile) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const ino = client.make_file("f");
    auto const handle = client.open(ino);
    ASSERT_OK(client.write(handle, 0, "data"));
    ASSERT_OK(client.fs.fsync(client.ctx, handle, false));
    ASSERT_OK(client.fs.unlink(client.ctx, kRootIno, "f"));
    EXPECT_EQ(volume.object_count(), 1u);
    EXPECT_EQ(client.read(handle, 0, 10), "data");
    ASSERT_OK(client.write(handle, 4, " more"));
    EXPECT_EQ(client.read(handle, 0, 10), "data more");
    ASSERT_OK(client.close(handle));
    client.stop();
    EXPECT_EQ(volume.object_count(), 0u);
  });
}

// Goal: unlink and rename over a file delete its objects.
TEST(Vfs, DeletedFilesLoseTheirObjects) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    for (auto const* name : {"a", "b", "c"}) {
      auto const handle = client.open(client.make_file(name));
      ASSERT_OK(client.write(handle, 0, testing::text_pattern(200'000, 1)));
      ASSERT_OK(client.close(handle));
    }
    EXPECT_EQ(volume.object_count(), 12u);
    ASSERT_OK(client.fs.unlink(client.ctx, kRootIno, "a"));
    ASSERT_OK(client.fs.rename(
        client.ctx, {.parent = kRootIno, .name = "b", .new_parent = kRootIno, .new_name = "c"}));
    client.stop();
    EXPECT_EQ(volume.object_count(), 4u);
  });
}

// Goal: a temporary file has no name, works, and leaves nothing behind.
TEST(Vfs, Tmpfile) {
  run_simulated([] {
    Volume volume(/*trash_days=*/1);
    Client client(volume);
    auto made = client.fs.tmpfile(client.ctx, {.parent = kRootIno, .mode = 0600}, O_RDWR);
    ASSERT_OK(made);
    EXPECT_EQ(made->entry.attr.nlink, 0u);
    ASSERT_OK(client.write(made->open.handle, 0, "scratch"));
    EXPECT_EQ(client.read(made->open.handle, 0, 10), "scratch");
    EXPECT_EQ(client.list(kRootIno),
              (std::vector<std::string>{".", "..", ".accesslog", ".stats", ".config", ".trash"}));
    ASSERT_OK(client.close(made->open.handle));
    client.stop();
    EXPECT_EQ(volume.object_count(), 0u);
  });
}

// Goal: writes and truncations by others than root drop setuid and, when executable, setgid.
TEST(Vfs, KillSuidgid) {
  run_simulated([] {
    Volume volume;
    Client client(volume);
    auto const ino = client.make_file("f");
    ASSERT_OK(client.fs.setattr(client.ctx, {.attrs = {.ino = ino, .mode = 06775}}));
    auto const handle = client.open(ino);
    ASSERT_OK(client.fs.write(client.ctx, handle, 0, as_bytes("x"), false));
    EXPECT_EQ(client.attr(ino).mode, 06775);
    ASSERT_OK(client.fs.write(client.ctx, handle, 0, as_bytes("x"), true));
    EXPECT_EQ(client.attr(ino).mode, 00775);
    ASSERT_OK(client.fs.setattr(client.ctx, {.attrs = {.ino = ino, .mode = 06765}}));
    auto cut = client.fs.setattr(
        client.ctx, {.attrs = {.ino = ino}, .size = 0, .handle = handle, .kill_suidgid = true});
    ASSERT_OK(cut);
    EXPECT_EQ(cut->attr.mode, 02765);
    ASSERT_OK(client.close(handle));
  });
}

// Goal: locks belong to owner and handle as on the peer, and go with flush and release.
TEST(Vfs, LocksGoWithTheirHandles) {
  run_simulated([] {
    Volume volume;
    Client one(volume);
    Client two(volume);
    auto const ino = one.make_file("f");
    auto const a = one.open(ino);
    auto const b = two.open(ino);
    using Type = LockRange::Type;
    LockRange const all{.type = Type::write, .pid = 3, .start = 0, .end = ~std::uint64_t{0} >> 1};
    ASSERT_OK(one.fs.setlk(one.ctx, {.ino = ino, .handle = a, .owner = 11, .range = all}));
    ASSERT_ERRC(two.fs.setlk(two.ctx, {.ino = ino, .handle = b, .owner = 12, .range = all}),
                Errc::again);
    auto const held = two.fs.getlk(two.ctx, {.ino = ino, .handle = b, .owner = 12, .range = all});
    ASSERT_OK(held);
    EXPECT_EQ(held->type, Type::write);
    ASSERT_OK(one.fs.flush(one.ctx, a, 99));  // another owner's close
    ASSERT_ERRC(two.fs.setlk(two.ctx, {.ino = ino, .handle = b, .owner = 12, .range = all}),
                Errc::again);
    ASSERT_OK(one.fs.flush(one.ctx, a, 11));
    ASSERT_OK(two.fs.setlk(two.ctx, {.ino = ino, .handle = b, .owner = 12, .range = all}));

    ASSERT_OK(one.fs.flock(one.ctx, {.ino = ino, .handle = a, .owner = 21, .range = all}));
    ASSERT_ERRC(two.fs.flock(two.ctx, {.ino = ino, .handle = b, .owner = 22, .range = all}),
                Errc::again);
    one.fs.release(one.ctx, a, std::nullopt);
    ASSERT_OK(two.fs.flock(two.ctx, {.ino = ino, .handle = b, .owner = 22, .range = all}));
    ASSERT_OK(two.close(b));
  });
}

// Goal: what the mount switches off is answered without a trip to the engine.
TEST(Vfs, XattrSwitch) {
  run_simulated([] {
    Volume volume;
    ClientOptions off;
    off.vfs.enable_xattr = false;
    off.vfs.enable_ioctl = false;
    Client without(volume, off);
    Client with(volume);
    auto const ino = with.make_file("f");
    auto const& ctx = with.ctx;
    ASSERT_OK(with.fs.setxattr(ctx, ino, "user.a", "1", 0));
    auto const trips = volume.engine->trips();
    ASSERT_ERRC(without.fs.getxattr(ctx, ino, "user.a"), Errc::nodata);
    ASSERT_ERRC(without.fs.setxattr(ctx, ino, "user.a", "1", 0), Errc::notsup);
    ASSERT_ERRC(with.fs.getxattr(ctx, ino, "security.capability"), Errc::nodata);
    ASSERT_ERRC(with.fs.setxattr(ctx, ino, "system.posix_acl_access", "1", 0), Errc::notsup);
    ASSERT_ERRC(without.fs.get_flags(ctx, ino), Errc::notty);
    EXPECT_EQ(volume.engine->trips(), trips);
    auto const names = with.fs.listxattr(ctx, ino);
    ASSERT_OK(names);
    EXPECT_EQ(*names, std::string("user.a\0", 7));
    ASSERT_OK(with.fs.removexattr(ctx, ino, "user.a"));
    ASSERT_ERRC(with.fs.getxattr(ctx, ino, "user.a"), Errc::nodata);

    ASSERT_OK(with.fs.set_flags(ctx, ino, 0x31));
    auto const flags = with.fs.get_flags(ctx, ino);
    ASSERT_OK(flags);
    EXPECT_EQ(*flags, 0x31u);
    ASSERT_ERRC(with.fs.set_flags(ctx, ino, 0x40), Errc::notsup);
  });
}

// Goal: ACLs have a switch of their own, and what is kept of an open file learns the new mode.
TEST(Vfs, AclsAreAttributesOfTheirOwn) {
  run_simulated([] {
    Volume volume;
    volume.setting.enable_acl = true;
    ClientOptions options;
    options.vfs.enable_xattr = false;
    options.vfs.enable_acl = true;
    Client client(volume, options);
    auto const ino = client.make_file("f");
    auto const& ctx = client.ctx;
    auto const opened = client.fs.open(ctx, ino, O_RDWR);
    ASSERT_OK(opened);
    // u::rw-,u:7:r--,g::r--,m::r--,o::---
    AclRule const rule{
        .owner = 6, .group = 4, .mask = 4, .other = 0, .named_users = {{.id = 7, .perm = 4}}};
    auto const value = build_acl_xattr(rule);
    ASSERT_OK(client.fs.setxattr(ctx, ino, meta::kAccessAclXattr, value, 0));
    auto const attr = client.fs.getattr(ctx, ino, opened->handle);
    ASSERT_OK(attr);
    EXPECT_EQ(attr->attr.mode, 0640);
    auto const read = client.fs.getxattr(ctx, ino, meta::kAccessAclXattr);
    ASSERT_OK(read);
    EXPECT_EQ(*read, value);
    auto const names = client.fs.listxattr(ctx, ino);
    ASSERT_OK(names);
    EXPECT_EQ(*names, std::string(meta::kAccessAclXattr) + '\0');
    ASSERT_ERRC(client.fs.setxattr(ctx, ino, "user.a", "1", 0), Errc::notsup);
    ASSERT_OK(client.fs.removexattr(ctx, ino, meta::kAccessAclXattr));
    ASSERT_ERRC(client.fs.getxattr(ctx, ino, meta::kAccessAclXattr), Errc::nodata);
    client.fs.release(ctx, opened->handle, std::nullopt);
  });
}

// Goal: after each change of a directory the kernel asks for its attributes again. As long as it
// might have kept them, they are what this client read and did, and no longer.
TEST(Vfs, TheDirectoryOfAChangeIsAnsweredWithoutATrip) {
  run_simulated([] {
    Volume volume;
    Client here(volume);
    Client there(volume);
    auto const& ctx = here.ctx;
    auto const make = [&](Client& client, Ino parent, std::string_view name) {
      auto made = client.fs.mkdir(ctx, {.parent = parent, .name = name, .mode = 0755});
      EXPECT_TRUE(made.ok());
      return made.ok() ? made->ino : Ino{};
    };
    auto const dir = make(here, kRootIno, "d");
    auto const stat = [&] {
      auto const reply = here.fs.getattr(ctx, dir, std::nullopt);
      EXPECT_TRUE(reply.ok());
      return reply.ok() ? *reply : vfs::AttrReply{};
    };
    auto const truth = [&] {
      meta::Key const key = meta::NodeKey{dir};
      auto const found = volume.engine->fetch(ctx, std::span(&key, 1));
      EXPECT_TRUE(found.ok());
      return std::get<Attr>(found->at(0));
    };
    auto const timeout = ClientOptions().vfs.attr_timeout;
    make(here, dir, "one");
    auto const trips = volume.engine->trips();
    auto const own = stat();
    EXPECT_EQ(volume.engine->trips(), trips);
    EXPECT_LE(own.attr_timeout, timeout);
    EXPECT_EQ(own.attr, truth());
    EXPECT_EQ(own.attr.nlink, 3U);

    ASSERT_OK(Loop::current()->sleep_for(ctx, timeout / 2));
    make(there, dir, "two");
    EXPECT_LE(stat().attr_timeout, timeout / 2) << "not kept for longer than from its reading on";
    ASSERT_OK(Loop::current()->sleep_for(ctx, timeout / 2 + 1ms));
    EXPECT_EQ(stat().attr, truth());
    EXPECT_EQ(stat().attr.nlink, 4U);
  });
}

// Goal: with a negative timeout a missing name is an answer, without one an error.
TEST(Vfs, NegativeLookups) {
  run_simulated([] {
    Volume volume;
    ClientOptions options;
    options.vfs.negative_timeout = std::chrono::seconds(3);
    Client negative(volume, options);
    auto const missing = negative.fs.lookup(negative.ctx, kRootIno, "none");
    ASSERT_OK(missing);
    EXPECT_EQ(missing->ino, Ino{});
    EXPECT_EQ(missing->entry_timeout, std::chrono::seconds(3));
  });
}

// Goal: a read-only mount refuses every change.
TEST(Vfs, ReadOnly) {
  run_simulated([] {
    Volume volume;
    Client writer(volume);
    auto const ino = writer.make_file("f");
    ClientOptions options;
    options.vfs.read_only = true;
    Client reader(volume, options);
    auto const& ctx = reader.ctx;
    ASSERT_ERRC(reader.fs.mknod(ctx, {.parent = kRootIno, .name = "x"}), Errc::rofs);
    ASSERT_ERRC(reader.fs.unlink(ctx, kRootIno, "f"), Errc::rofs);
    ASSERT_ERRC(reader.fs.setattr(ctx, {.attrs = {.ino = ino}, .size = 1}), Errc::rofs);
    ASSERT_ERRC(
        reader.fs.rename(
            ctx, {.parent = kRootIno, .name = "f", .new_parent = kRootIno, .new_name = "g"}),
        Errc::rofs);
  });
}

}  // namespace
}  // namespace zest
