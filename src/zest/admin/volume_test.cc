// Goal: `format` creates, updates and refuses as the format's rules say, on the memory engine and
// store; `config` and `info` find what is there.
#include "zest/admin/volume.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "zest/admin/file_info.h"
#include "zest/base/clock.h"
#include "zest/base/rng.h"
#include "zest/meta/engine/memory/memory.h"
#include "zest/object/mem/mem_store.h"
#include "zest/object/prefix_store.h"
#include "zest/runtime/testing.h"

namespace zest::admin {
namespace {

/// Lets several openings see one store.
class Borrowed final : public SinglePutStore {
 public:
  explicit Borrowed(ObjectStore& store) : store_(store) {}
  [[nodiscard]] StoreCapabilities const& capabilities() const noexcept override {
    return store_.capabilities();
  }
  [[nodiscard]] std::string describe() const override { return store_.describe(); }
  Result<void> create(Context const& ctx) override { return store_.create(ctx); }
  Result<std::size_t> get(Context const& ctx, std::string_view key, ByteRange range,
                          ByteSpan out) override {
    return store_.get(ctx, key, range, out);
  }
  Result<void> put(Context const& ctx, std::string_view key,
                   std::span<ByteView const> parts) override {
    return store_.put(ctx, key, parts);
  }
  Result<void> remove(Context const& ctx, std::string_view key) override {
    return store_.remove(ctx, key);
  }
  Result<ObjectInfo> head(Context const& ctx, std::string_view key) override {
    return store_.head(ctx, key);
  }
  Result<ObjectPage> list(Context const& ctx, ListObjects const& request) override {
    return store_.list(ctx, request);
  }
  Result<void> sync(Context const& ctx, std::span<std::string const> keys) override {
    return store_.sync(ctx, keys);
  }
  Result<void> copy(Context const& ctx, CopyObject const& request) override {
    return store_.copy(ctx, request);
  }

 private:
  ObjectStore& store_;
};

class VolumeTest : public ::testing::Test {
 protected:
  void run(std::function<void()> const& body) { testing::run_simulated(body); }

  Access access() {
    return {.engine = *engine_,
            .open_store = [this](Setting const& setting) -> Result<std::unique_ptr<ObjectStore>> {
              return make_prefix_store(std::make_unique<Borrowed>(*store_), setting.name + "/");
            },
            .rng = rng_,
            .clock = clock_};
  }
  static FormatRequest named(std::string name) {
    return {.changes = {.name = std::move(name), .bucket = "/b/"}};
  }
  void put(std::string const& key) {
    std::array const parts{as_bytes("x")};
    ASSERT_TRUE(store_->put(ctx_, key, parts).ok());
  }
  std::string get(std::string const& key) {
    std::string text(200, '\0');
    auto const size = store_->get(ctx_, key, {}, std::as_writable_bytes(std::span(text)));
    return size.ok() ? text.substr(0, *size) : size.error().text();
  }

  Context ctx_;
  Rng rng_{1};
  SystemClock clock_;
  std::unique_ptr<meta::Engine> engine_ = meta::make_memory_engine();
  std::unique_ptr<ObjectStore> store_ = make_mem_store({});
};

TEST_F(VolumeTest, FormatCreatesAVolume) {
  run([this] {
    auto const reply = format_volume(ctx_, access(), named("vol"));
    ASSERT_TRUE(reply.ok()) << reply.error().text();
    EXPECT_EQ(reply->outcome, FormatReply::Outcome::created);
    auto const setting = load_setting(ctx_, *engine_);
    ASSERT_TRUE(setting.ok()) << setting.error().text();
    EXPECT_EQ(*setting, reply->setting);
    EXPECT_EQ(get("vol/juicefs_uuid"), setting->uuid);
    std::array const keys{meta::Key(meta::NodeKey{kRootIno}), meta::Key(meta::NodeKey{kTrashIno})};
    auto const nodes = engine_->fetch(ctx_, keys);
    ASSERT_TRUE(nodes.ok());
    auto const* root = std::get_if<Attr>(&(*nodes)[0]);
    ASSERT_NE(root, nullptr);
    EXPECT_EQ(root->mode, 0777);
    EXPECT_EQ(root->nlink, 2u);
    EXPECT_EQ(root->length, 4096u);
    auto const* trash = std::get_if<Attr>(&(*nodes)[1]);
    ASSERT_NE(trash, nullptr);
    EXPECT_EQ(trash->mode, 0555);
  });
}

TEST_F(VolumeTest, NothingIsCreatedOverForeignObjects) {
  run([this] {
    put("vol/chunks/0/0/1_0_1");
    EXPECT_TRUE(failed_with(format_volume(ctx_, access(), named("vol")), Errc::exist));
    EXPECT_TRUE(failed_with(load_setting(ctx_, *engine_), Errc::noent));
    auto request = named("vol");
    request.force = true;
    EXPECT_TRUE(format_volume(ctx_, access(), request).ok());
  });
}

TEST_F(VolumeTest, FormatAgainUpdatesAndKeepsTheIdentity) {
  run([this] {
    auto const first = format_volume(ctx_, access(), named("vol"));
    ASSERT_TRUE(first.ok());
    auto request = named("vol");
    request.changes.trash_days = 5;
    auto const second = format_volume(ctx_, access(), request);
    ASSERT_TRUE(second.ok()) << second.error().text();
    EXPECT_EQ(second->outcome, FormatReply::Outcome::updated);
    EXPECT_EQ(second->setting.uuid, first->setting.uuid);
    EXPECT_EQ(second->setting.trash_days, 5);
    request.changes.trash_days = 9;
    request.no_update = true;
    auto const third = format_volume(ctx_, access(), request);
    ASSERT_TRUE(third.ok());
    EXPECT_EQ(third->outcome, FormatReply::Outcome::unchanged);
    EXPECT_EQ(load_setting(ctx_, *engine_)->trash_days, 5);
  });
}

TEST_F(VolumeTest, FormatAgainRefusesAnotherBlockSizeUnlessForced) {
  run([this] {
    ASSERT_TRUE(format_volume(ctx_, access(), named("vol")).ok());
    auto request = named("vol");
    request.changes.block_size_kib = 1024;
    EXPECT_TRUE(failed_with(format_volume(ctx_, access(), request), Errc::perm));
    EXPECT_EQ(load_setting(ctx_, *engine_)->block_size_kib, 4096);
    request.force = true;
    EXPECT_TRUE(format_volume(ctx_, access(), request).ok());
  });
}

TEST_F(VolumeTest, ConfigRefusesLimitsBelowTheUsage) {
  run([this] {
    ASSERT_TRUE(format_volume(ctx_, access(), named("vol")).ok());
    ASSERT_TRUE(engine_->add_usage(ctx_, {.space = 1 << 20, .inodes = 10}).ok());
    EXPECT_TRUE(failed_with(config_volume(ctx_, access(), {.changes = {.capacity_bytes = 1000}}),
                            Errc::dquot));
    EXPECT_TRUE(
        failed_with(config_volume(ctx_, access(), {.changes = {.inodes = 9}}), Errc::dquot));
    auto const set = config_volume(ctx_, access(), {.changes = {.inodes = 9}, .force = true});
    ASSERT_TRUE(set.ok());
    ASSERT_EQ(set->changed.size(), 1u);
    EXPECT_EQ(set->changed[0].name, "inodes");
  });
}

TEST_F(VolumeTest, AVolumeOfANewerFormatIsRefused) {
  run([this] {
    auto setting = new_setting("c223a4ce-86ca-41b1-b255-d794d01d0a80");
    ASSERT_TRUE(apply_changes(setting, {.name = "vol"}).ok());
    setting.meta_version = 2;
    ASSERT_TRUE(engine_->initialize(ctx_, encode_setting(setting), Attr{}, std::nullopt).ok());
    EXPECT_TRUE(failed_with(load_setting(ctx_, *engine_), Errc::perm));
    EXPECT_TRUE(failed_with(format_volume(ctx_, access(), named("vol")), Errc::perm));
  });
}

TEST_F(VolumeTest, InfoFindsPathsCountsAndObjects) {
  run([this] {
    ASSERT_TRUE(format_volume(ctx_, access(), named("vol")).ok());
    auto const setting = *load_setting(ctx_, *engine_);
    Attr dir{.type = FileType::directory, .nlink = 2, .length = 4096, .parent = kRootIno};
    Attr file{.nlink = 1, .length = 5 << 20, .parent = Ino{2}};
    SliceRecord const slice{.pos = 0, .id = SliceId{7}, .size = 5 << 20, .len = 5 << 20};
    meta::Commit commit;
    commit.changes = {
        meta::Put{meta::NodeKey{Ino{2}}, dir},
        meta::Put{meta::EdgeKey{kRootIno, "d"}, Entry{FileType::directory, Ino{2}}},
        meta::Put{meta::NodeKey{Ino{3}}, file},
        meta::Put{meta::EdgeKey{Ino{2}, "f"}, Entry{FileType::regular, Ino{3}}},
        meta::AppendSlices{{Ino{3}, ChunkIndex{0}}, {slice}},
    };
    ASSERT_TRUE(engine_->commit(ctx_, commit).ok());

    auto const ino = resolve_path(ctx_, *engine_, "/d/f");
    ASSERT_TRUE(ino.ok()) << ino.error().text();
    auto const info = file_info(ctx_, *engine_, setting, {.ino = *ino});
    ASSERT_TRUE(info.ok()) << info.error().text();
    EXPECT_EQ(info->paths, std::vector<std::string>{"/d/f"});
    EXPECT_EQ(info->length, 5u << 20);
    ASSERT_EQ(info->objects.size(), 2u);
    EXPECT_EQ(info->objects[0].object, "vol/chunks/0/0/7_0_4194304");
    EXPECT_EQ(info->objects[1].object, "vol/chunks/0/0/7_1_1048576");
    EXPECT_EQ(info->objects[1].pos, 4u << 20);

    auto const top = file_info(ctx_, *engine_, setting, {.ino = kRootIno, .recursive = true});
    ASSERT_TRUE(top.ok());
    EXPECT_EQ(top->files, 1u);
    EXPECT_EQ(top->dirs, 2u);
    EXPECT_EQ(top->size, (5u << 20) + 8192u);
    EXPECT_TRUE(failed_with(resolve_path(ctx_, *engine_, "/d/none"), Errc::noent));
    EXPECT_TRUE(failed_with(file_info(ctx_, *engine_, setting, {.ino = Ino{99}}), Errc::noent));
  });
}

}  // namespace
}  // namespace zest::admin
