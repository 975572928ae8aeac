// Goal: gc removes what nobody needs and nothing else, whatever clients do while it runs. On the
// memory engine and store, with objects whose age the test decides.
#include "zest/admin/gc.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "zest/format/object_name.h"
#include "zest/meta/testing.h"
#include "zest/object/mem/mem_store.h"
#include "zest/runtime/buffer_pool.h"

namespace zest::admin {
namespace {

using meta::testing::Client;
using meta::testing::make;
using testing::run_simulated;

constexpr std::uint32_t kBlock = 64 * 1024;

// All objects are a day old, except those that are said to be younger.
class AgedStore final : public ObjectStore {
 public:
  explicit AgedStore(Clock const& clock) : clock_(clock) {}
  std::map<std::string, std::int64_t, std::less<>> age_sec;
  std::function<void()> after_list;
  std::function<bool(std::string_view)> refuse_remove;

  [[nodiscard]] StoreCapabilities const& capabilities() const noexcept override {
    return inner_->capabilities();
  }
  [[nodiscard]] std::string describe() const override { return "aged"; }
  Result<void> create(Context const& ctx) override { return inner_->create(ctx); }
  Result<std::size_t> get(Context const& ctx, std::string_view key, ByteRange range,
                          ByteSpan out) override {
    return inner_->get(ctx, key, range, out);
  }
  Result<void> put(Context const& ctx, std::string_view key,
                   std::span<ByteView const> parts) override {
    return inner_->put(ctx, key, parts);
  }
  Result<void> remove(Context const& ctx, std::string_view key) override {
    if (refuse_remove && refuse_remove(key)) {
      return Errc::acces;
    }
    return inner_->remove(ctx, key);
  }
  Result<ObjectInfo> head(Context const& ctx, std::string_view key) override {
    ZEST_TRY(auto info, inner_->head(ctx, key));
    return aged(std::move(info));
  }
  Result<ObjectPage> list(Context const& ctx, ListObjects const& request) override {
    ZEST_TRY(auto page, inner_->list(ctx, request));
    for (auto& info : page.objects) {
      info = aged(std::move(info));
    }
    if (auto const hook = std::exchange(after_list, {})) {
      hook();
    }
    return page;
  }
  Result<void> sync(Context const& ctx, std::span<std::string const> keys) override {
    return inner_->sync(ctx, keys);
  }
  Result<void> copy(Context const& ctx, CopyObject const& request) override {
    return inner_->copy(ctx, request);
  }
  Result<Upload> create_upload(Context const& ctx, std::string_view key) override {
    return inner_->create_upload(ctx, key);
  }
  Result<UploadedPart> upload_part(Context const& ctx, Upload const& upload, std::uint32_t number,
                                   std::span<ByteView const> parts) override {
    return inner_->upload_part(ctx, upload, number, parts);
  }
  Result<void> complete_upload(Context const& ctx, Upload const& upload,
                               std::span<UploadedPart const> parts) override {
    return inner_->complete_upload(ctx, upload, parts);
  }
  Result<void> abort_upload(Context const& ctx, Upload const& upload) override {
    return inner_->abort_upload(ctx, upload);
  }
  /// Keys of all blocks.
  std::vector<std::string> blocks() {
    std::vector<std::string> keys;
    auto const page = inner_->list({}, {.prefix = "", .limit = 100'000});
    EXPECT_TRUE(page.ok());
    for (auto const& info : page->objects) {
      keys.push_back(info.key);
    }
    return keys;
  }

 private:
  ObjectInfo aged(ObjectInfo info) const {
    auto const it = age_sec.find(info.key);
    std::int64_t const day = info.key.starts_with("chunks/") ? 86'400 : 0;
    info.mtime = clock_.wall();
    info.mtime.sec -= it == age_sec.end() ? day : it->second;
    return info;
  }
  Clock const& clock_;
  std::unique_ptr<ObjectStore> inner_ = make_mem_store({});
};

Setting small_blocks(std::int64_t trash_days) {
  auto setting = meta::testing::make_setting(trash_days);
  setting.block_size_kib = 64;
  return setting;
}

struct Fixture {
  explicit Fixture(std::int64_t trash_days = 0)
      : volume(meta::make_memory_engine({}), small_blocks(trash_days)),
        client(volume),
        store(volume.clock),
        blocks(store, {.block_size = kBlock, .cache_bytes = 0}, buffers, pool, volume.rng,
               volume.log, client.metrics) {}

  Result<GcReport> gc(GcRequest request) {
    request.temp_directory = ::testing::TempDir();
    return collect_garbage({},
                           {.meta = client.meta,
                            .store = store,
                            .blocks = blocks,
                            .setting = volume.setting,
                            .pool = pool,
                            .clock = volume.clock,
                            .rng = volume.rng},
                           request);
  }
  /// Stores a slice and returns its record, not committed.
  SliceRecord store_slice(std::uint32_t pos, std::string const& text) {
    auto const id = *client.meta.new_slice({});
    SliceWriter writer(blocks);
    writer.set_id(id);
    EXPECT_TRUE(writer.write({}, 0, as_bytes(text)).ok());
    EXPECT_TRUE(writer.finish({}, false).ok());
    auto const size = static_cast<std::uint32_t>(text.size());
    return {.pos = pos, .id = id, .size = size, .off = 0, .len = size};
  }
  void commit(Ino ino, SliceRecord const& slice) {
    EXPECT_TRUE(client.meta
                    .write_slice({}, {.ino = ino,
                                      .index = ChunkIndex{0},
                                      .slices = {slice},
                                      .mtime = volume.clock.wall()})
                    .ok());
  }
  Ino file(std::string_view name, std::uint32_t size) {
    auto const ino = *make(client, FileType::regular, kRootIno, name);
    commit(ino, store_slice(0, std::string(size, 'x')));
    return ino;
  }

  meta::testing::Volume volume;
  Client client;
  BlockingPool pool{{.name = "test", .threads = 1}, client.metrics};
  BufferPool buffers{16u << 20, client.metrics};
  AgedStore store;
  BlockStore blocks;
};

TEST(Gc, LeakedObjectsAreFoundAndRemoved) {
  run_simulated([] {
    Fixture f;
    f.file("a", 3 * kBlock + 5);
    auto const kept = f.store.blocks();
    auto const leaked = f.store_slice(0, std::string(2 * kBlock, 'l'));
    // Of a live slice, but with an index that it doesn't have.
    std::array const parts{as_bytes(std::string_view("12345"))};
    ASSERT_TRUE(f.store.put({}, block_key(SliceId{1}, 9, 5, false), parts).ok());
    ASSERT_TRUE(f.store.put({}, "chunks/0/0/notes.txt", parts).ok());

    auto report = f.gc({});
    ASSERT_TRUE(report.ok()) << report.error().text();
    EXPECT_EQ(report->slices, 1U);
    EXPECT_EQ(report->scanned.objects, 8U);
    EXPECT_EQ(report->valid.objects, 4U);
    EXPECT_EQ(report->valid.bytes, 3 * kBlock + 5U);
    EXPECT_EQ(report->leaked.objects, 3U);
    EXPECT_EQ(report->leaked.bytes, 2 * kBlock + 5U);
    EXPECT_EQ(report->unknown.objects, 1U);
    EXPECT_EQ(report->removed.objects, 0U);
    EXPECT_EQ(f.store.blocks().size(), 8U);

    report = f.gc({.remove = true});
    ASSERT_TRUE(report.ok()) << report.error().text();
    EXPECT_EQ(report->removed.objects, 3U);
    EXPECT_EQ(report->failed, 0U);
    auto left = kept;
    left.emplace_back("chunks/0/0/notes.txt");
    std::ranges::sort(left);
    EXPECT_EQ(f.store.blocks(), left);
    static_cast<void>(leaked);
  });
}

// An upload under way: its objects are there, its record is not.
TEST(Gc, YoungObjectsAreNeverTouched) {
  run_simulated([] {
    Fixture f;
    auto const slice = f.store_slice(0, std::string(2 * kBlock, 'y'));
    auto const keys = f.store.blocks();
    f.store.age_sec = {{keys[0], 3500}, {keys[1], 3700}};
    auto const report = f.gc({.remove = true});
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->young.objects, 1U);
    EXPECT_EQ(report->removed.objects, 1U);
    EXPECT_EQ(f.store.blocks(), std::vector{keys[0]});
    static_cast<void>(slice);
  });
}

// An upload that took longer than the grace time, or a file that was copied to where the listing
// had been before and then removed: its record comes after the slices were listed.
TEST(Gc, SlicesCommittedWhileItRunsAreKept) {
  run_simulated([] {
    Fixture f;
    auto const ino = *make(f.client, FileType::regular, kRootIno, "late");
    auto const slice = f.store_slice(0, std::string(2 * kBlock, 'l'));
    auto const gone = f.store_slice(0, "gone");
    f.store.after_list = [&] { f.commit(ino, slice); };
    auto const report = f.gc({.remove = true});
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->kept, 2U);
    EXPECT_EQ(report->removed.objects, 1U);
    EXPECT_EQ(f.store.blocks().size(), 2U);
    static_cast<void>(gone);
  });
}

TEST(Gc, DeletedFilesAndTheirObjectsGo) {
  run_simulated([] {
    Fixture f;
    f.file("a", 2 * kBlock);
    f.file("b", kBlock);
    ASSERT_TRUE(f.client.meta.unlink({}, kRootIno, "a").ok());
    auto report = f.gc({});
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->deleted_files, 1U);
    EXPECT_EQ(report->valid.objects, 3U);
    report = f.gc({.remove = true});
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->cleaned_files, 1U);
    EXPECT_EQ(report->cleaned_slices, 1U);
    EXPECT_EQ(f.store.blocks().size(), 1U);
  });
}

// Another client may have the file open: it gets a minute to notice.
TEST(Gc, DeletedFilesWaitForOtherClients) {
  run_simulated([] {
    Fixture f;
    f.file("a", kBlock);
    Client other(f.volume);
    ASSERT_TRUE(f.client.meta.unlink({}, kRootIno, "a").ok());
    EXPECT_EQ(f.gc({.remove = true})->cleaned_files, 0U);
    EXPECT_EQ(f.store.blocks().size(), 1U);
    ASSERT_TRUE(Loop::current()->sleep_for({}, std::chrono::seconds(90)).ok());
    EXPECT_EQ(f.gc({.remove = true})->cleaned_files, 1U);
    EXPECT_EQ(f.store.blocks().size(), 0U);
  });
}

TEST(Gc, CompactionMergesAndRemoves) {
  run_simulated([] {
    Fixture f;
    auto const ino = f.file("a", 100);
    for (std::uint32_t i = 1; i < 20; ++i) {
      f.commit(ino, f.store_slice(i * 100, std::string(100, static_cast<char>('a' + i))));
    }
    EXPECT_EQ(f.store.blocks().size(), 20U);
    auto const report = f.gc({.compact = true});
    ASSERT_TRUE(report.ok()) << report.error().text();
    EXPECT_EQ(report->compacted_chunks, 1U);
    EXPECT_EQ(report->compacted_slices, 20U);
    EXPECT_EQ(report->compacted_bytes, 2000U);
    EXPECT_EQ(report->leaked.objects, 0U);
    EXPECT_EQ(f.store.blocks().size(), 1U);
    auto const slices = f.client.meta.read_chunk({}, ino, ChunkIndex{0});
    ASSERT_EQ(slices->size(), 1U);
    DataView bytes;
    ASSERT_TRUE(f.blocks.read({}, slices->front().id, 2000, 0, 2000, false, bytes).ok());
    std::string text(2000, '\0');
    bytes.copy_to(std::as_writable_bytes(std::span(text)));
    EXPECT_EQ(text.substr(1900), std::string(100, static_cast<char>('a' + 19)));
  });
}

TEST(Gc, DelayedSlicesStayForTheTrashPeriod) {
  run_simulated([] {
    Fixture f(/*trash_days=*/1);
    auto const ino = f.file("a", 100);
    f.commit(ino, f.store_slice(100, "more"));
    ASSERT_TRUE(f.gc({.compact = true}).ok());
    auto report = f.gc({.remove = true});
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->delayed.objects, 2U);
    EXPECT_EQ(report->leaked.objects, 0U);
    EXPECT_EQ(f.store.blocks().size(), 3U);
    ASSERT_TRUE(Loop::current()->sleep_for({}, std::chrono::hours(25)).ok());
    report = f.gc({.remove = true});
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->cleaned_slices, 2U);
    EXPECT_EQ(f.store.blocks().size(), 1U);
  });
}

TEST(Gc, RemovalsThatFailAreCounted) {
  run_simulated([] {
    Fixture f;
    static_cast<void>(f.store_slice(0, std::string(3 * kBlock, 'l')));
    f.store.refuse_remove = [](std::string_view key) { return key.find("_1_") != key.npos; };
    auto const report = f.gc({.remove = true});
    ASSERT_TRUE(report.ok());
    EXPECT_EQ(report->removed.objects, 2U);
    EXPECT_EQ(report->failed, 1U);
  });
}

// More slices than memory is allowed for.
TEST(Gc, ManySlicesSpill) {
  run_simulated([] {
    Fixture f;
    for (int i = 0; i < 50; ++i) {
      f.file("f" + std::to_string(i), 10);
    }
    static_cast<void>(f.store_slice(0, "leaked"));
    auto const report = f.gc({.remove = true, .slices_in_memory = 7});
    ASSERT_TRUE(report.ok());
    EXPECT_GT(report->spilled_bytes, 0U);
    EXPECT_EQ(report->removed.objects, 1U);
    EXPECT_EQ(f.store.blocks().size(), 50U);
  });
}

}  // namespace
}  // namespace zest::admin
