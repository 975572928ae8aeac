// Random operations by two clients against arrays of bytes.
//
// The clients take turns, so close-to-open is all that they may rely on: a turn opens its files,
// does operations through several handles, and closes them. Time passes in between, so background
// flushes and compactions meet the operations. A failing seed is printed.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "zest/meta/engine/sql/sqlite.h"
#include "zest/object/file/file_store.h"
#include "zest/runtime/loop_group.h"
#include "zest/runtime/sync.h"
#include "zest/vfs/vfs_fixture.h"

namespace zest {
namespace {

using testing::Client;
using testing::ClientOptions;
using testing::ModelFile;
using testing::run_on_loop;
using testing::run_simulated;
using testing::StoreOp;
using testing::text_pattern;
using testing::Volume;

constexpr std::size_t kFiles = 3;

/// How many seeds to try; more at night with ZEST_MODEL_SEEDS.
std::uint64_t seeds(std::uint64_t usual) {
  char const* const wanted = std::getenv("ZEST_MODEL_SEEDS");
  return wanted == nullptr ? usual : std::strtoull(wanted, nullptr, 10);
}

/// Offsets around the places where things change: the start, blocks, the border of chunks.
class Driver {
 public:
  Driver(Volume& volume, std::uint64_t seed, std::size_t pool_bytes)
      : random_(seed),
        one_(volume, options(pool_bytes, seed)),
        two_(volume, options(pool_bytes, seed + 1)) {
    for (std::size_t i = 0; i < kFiles; ++i) {
      inos_[i] = one_.make_file("f" + std::to_string(i));
    }
  }

  void run(int turns, int steps) {
    for (int turn = 0; turn < turns && !::testing::Test::HasFailure(); ++turn) {
      auto& client = below(2) == 0 ? one_ : two_;
      for (std::size_t i = 0; i < kFiles; ++i) {
        for (auto& handle : handles_[i]) {
          handle = client.open(inos_[i]);
        }
      }
      for (int step = 0; step < steps && !::testing::Test::HasFailure(); ++step) {
        SCOPED_TRACE("turn " + std::to_string(turn) + " step " + std::to_string(step));
        operate(client);
      }
      for (std::size_t i = 0; i < kFiles; ++i) {
        for (auto const handle : handles_[i]) {
          ASSERT_OK(client.close(handle));
        }
      }
    }
  }

 private:
  static ClientOptions options(std::size_t pool_bytes, std::uint64_t seed) {
    ClientOptions out;
    out.pool_bytes = pool_bytes;
    out.seed = seed;
    out.vfs.readahead_max = 256u << 10;
    return out;
  }
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  std::uint64_t place() {
    constexpr std::array<std::uint64_t, 4> kBases{0, 0, kChunkSize - 150'000,
                                                  2 * kChunkSize - 70'000};
    return kBases[below(kBases.size())] + below(200'000);
  }

  void operate(Client& client) {
    auto const i = below(kFiles);
    auto const handle = handles_[i][below(2)];
    auto const offset = place();
    auto const size = 1 + below(below(4) == 0 ? 180'000 : 9'000);
    switch (below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4: write(client, i, handle, offset, size); break;
      case 5:
      case 6:
      case 7:
      case 8: compare(client, i, handle, offset, size); break;
      case 9: truncate(client, i, handle, offset); break;
      case 10: allocate(client, i, handle, offset, size); break;
      case 11: copy(client, i, handle, offset, size); break;
      case 12: {
        ASSERT_OK(client.fs.fsync(client.ctx, handle, below(2) == 0));
        break;
      }
      case 13: {
        ASSERT_OK(client.fs.flush(client.ctx, handle, 0));
        break;
      }
      case 14: seek(client, i, handle, offset); break;
      default:
        ASSERT_OK(Loop::current()->sleep_for(
            {}, std::chrono::milliseconds(below(below(2) == 0 ? 5 : 3000) * (simulated_ ? 1 : 0))));
    }
    ASSERT_EQ(client.attr(inos_[i]).length, models_[i].length());
  }

  void write(Client& client, std::size_t i, vfs::Handle handle, std::uint64_t offset,
             std::uint64_t size) {
    // Often right behind the last write, as programs do.
    auto const at = below(2) == 0 ? last_end_[i] : offset;
    auto const data = text_pattern(size, random_());
    auto const written = client.write(handle, at, data);
    ASSERT_OK(written);
    ASSERT_EQ(*written, size);
    models_[i].write(at, data);
    last_end_[i] = at + size;
  }
  void compare(Client& client, std::size_t i, vfs::Handle handle, std::uint64_t offset,
               std::uint64_t size) {
    auto const got = client.read(handle, offset, size);
    auto const want = models_[i].read(offset, size);
    ASSERT_EQ(got.size(), want.size()) << "file " << i << " at " << offset;
    auto const differ = std::ranges::mismatch(got, want);
    ASSERT_TRUE(differ.in1 == got.end())
        << "file " << i << " differs at "
        << offset + static_cast<std::uint64_t>(differ.in1 - got.begin());
  }
  void truncate(Client& client, std::size_t i, vfs::Handle handle, std::uint64_t offset) {
    vfs::SetattrRequest request{.attrs = {.ino = inos_[i]}, .size = offset};
    if (below(2) == 0) {
      request.handle = handle;
    }
    auto const cut = client.fs.setattr(client.ctx, request);
    ASSERT_OK(cut);
    ASSERT_EQ(cut->attr.length, offset);
    models_[i].truncate(offset);
  }
  void allocate(Client& client, std::size_t i, vfs::Handle handle, std::uint64_t offset,
                std::uint64_t size) {
    constexpr std::array<std::uint32_t, 5> kModes{0, 1, 3, 16, 17};
    auto const mode = kModes[below(kModes.size())];
    ASSERT_OK(
        client.fs.fallocate(client.ctx, handle, {.mode = mode, .offset = offset, .length = size}));
    if ((mode & 18U) != 0) {
      models_[i].zero(offset, std::min(offset + size, models_[i].length()));
    }
    if ((mode & 1U) == 0) {
      models_[i].grow(offset + size);
    }
  }
  void copy(Client& client, std::size_t i, vfs::Handle handle, std::uint64_t offset,
            std::uint64_t size) {
    auto const j = below(kFiles);
    auto const to = place();
    auto const copied = client.fs.copy_file_range(client.ctx, {.in = inos_[i],
                                                               .handle_in = handle,
                                                               .offset_in = offset,
                                                               .out = inos_[j],
                                                               .handle_out = handles_[j][0],
                                                               .offset_out = to,
                                                               .length = size});
    if (i == j && offset < to + size && to < offset + size) {
      ASSERT_ERRC(copied, Errc::inval);
      return;
    }
    ASSERT_OK(copied);
    auto const data = models_[i].read(offset, size);
    ASSERT_EQ(*copied, data.size());
    if (!data.empty()) {
      models_[j].write(to, data);
    }
  }
  void seek(Client& client, std::size_t i, vfs::Handle handle, std::uint64_t offset) {
    auto const& model = models_[i];
    auto const data = client.fs.lseek(client.ctx, handle, offset, SEEK_DATA);
    auto const hole = client.fs.lseek(client.ctx, handle, offset, SEEK_HOLE);
    if (offset >= model.length()) {
      ASSERT_ERRC(data, Errc::nxio);
      ASSERT_ERRC(hole, Errc::nxio);
      return;
    }
    ASSERT_OK(hole);
    ASSERT_LE(*hole, model.length());
    // What is skipped on the way to data must be zeros.
    auto const stop = std::min(data.ok() ? *data : model.length(), offset + 400'000);
    auto const skipped = model.read(offset, stop - offset);
    ASSERT_EQ(skipped.find_first_not_of('\0'), std::string::npos);
  }

 public:
  bool simulated_ = true;

 private:
  std::mt19937_64 random_;
  Client one_;
  Client two_;
  std::array<Ino, kFiles> inos_{};
  std::array<std::array<vfs::Handle, 2>, kFiles> handles_{};
  std::array<ModelFile, kFiles> models_{};
  std::array<std::uint64_t, kFiles> last_end_{};
};

// Goal: on a simulated loop with slow objects, little memory, lost races in the engine and trash on
// or off, every read equals the array.
TEST(VfsModel, RandomOperationsSimulated) {
  for (std::uint64_t seed = 1; seed <= seeds(12) && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    run_simulated(
        [seed] {
          Rng rng(seed);
          Volume volume(seed % 3 == 0 ? 1 : 0,
                        {.usage_in_commit = seed % 2 == 0, .rng = &rng, .conflict_per_mille = 20});
          volume.faulty.before = [&](StoreOp, std::string_view, std::uint64_t) {
            (void)Loop::current()->sleep_for({}, std::chrono::milliseconds(rng.below(40)));
            return Result<void>();
          };
          Driver driver(volume, seed, seed % 4 == 1 ? 512u << 10 : 16u << 20);
          driver.run(6, 60);
        },
        seed);
  }
}

// Goal: the same on a real loop.
TEST(VfsModel, RandomOperationsOnALoop) {
  for (std::uint64_t seed = 101; seed <= 100 + seeds(3) && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    run_on_loop([seed] {
      Volume volume;
      Driver driver(volume, seed, 16u << 20);
      driver.simulated_ = false;
      driver.run(6, 80);
    });
  }
}

// Goal: the same on SQLite and files.
TEST(VfsModel, RandomOperationsOnSqliteAndFiles) {
  Logger log({.level = LogLevel::error, .file = {}, .json = false, .color = false});
  Registry metrics;
  BlockingPool pool({.name = "files", .threads = 2, .queue_max = 64}, metrics);
  std::string root = (std::filesystem::temp_directory_path() / "zest-vfs-XXXXXX").string();
  ASSERT_NE(::mkdtemp(root.data()), nullptr);
  auto engine = meta::open_sqlite({.path = root + "/meta.db"}, log, metrics);
  ASSERT_OK(engine);
  auto store = make_file_store({.root = root + "/objects/"}, pool);
  ASSERT_OK(store);
  run_on_loop([&] {
    ASSERT_OK((*store)->create({}));
    Volume volume(std::move(*engine), std::move(*store));
    Driver driver(volume, 201, 16u << 20);
    driver.simulated_ = false;
    driver.run(5, 60);
  });
  std::filesystem::remove_all(root);
}

// Goal: fibers of two loops share files, handles and commits of one client without races (run this
// with the thread sanitizer).
TEST(VfsModel, SeveralLoops) {
  Logger log({.level = LogLevel::error, .file = {}, .json = false, .color = false});
  auto group = LoopGroup::create({.kind = LoopKind::epoll, .loops = 2}, log);
  ASSERT_OK(group);
  std::unique_ptr<Volume> volume;
  std::unique_ptr<Client> client;
  std::vector<vfs::Handle> handles;
  constexpr std::uint64_t kStripe = 5'003;
  (*group)->call(0, [&] {
    volume = std::make_unique<Volume>();
    ClientOptions options;
    options.pool_bytes = 2u << 20;
    client = std::make_unique<Client>(*volume, options);
    for (int f = 0; f < 4; ++f) {
      handles.push_back(client->open(client->make_file("f" + std::to_string(f))));
    }
    Scope scope;
    for (std::uint64_t w = 0; w < 8; ++w) {
      scope.spawn_on((*group)->loop(w % 2), [&, w] {
        for (std::uint64_t i = 0; i < 24; ++i) {
          auto const handle = handles[i % 4];
          auto const stripe = i / 4 * 8 + w;
          EXPECT_TRUE(client->write(handle, stripe * kStripe, text_pattern(kStripe, stripe)).ok());
          if ((i + w) % 5 == 0) {
            EXPECT_EQ(client->read(handle, stripe * kStripe, kStripe),
                      text_pattern(kStripe, stripe));
          }
          if ((i + w) % 7 == 0) {
            EXPECT_TRUE(client->fs.fsync(client->ctx, handle, false).ok());
          }
        }
      });
    }
    scope.join();
    for (auto const handle : handles) {
      for (std::uint64_t s = 0; s < 48; ++s) {
        EXPECT_EQ(client->read(handle, s * kStripe, kStripe), text_pattern(kStripe, s));
      }
      EXPECT_TRUE(client->close(handle).ok());
    }
    client.reset();
    volume.reset();
  });
}

}  // namespace
}  // namespace zest
