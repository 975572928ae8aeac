#include "zest/object/file/file_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "zest/object/file/direct_io.h"
#include "zest/object/testing/expect.h"
#include "zest/runtime/buffer_pool.h"
#include "zest/runtime/socket.h"
#include "zest/runtime/testing.h"

namespace zest {
namespace {

namespace fs = std::filesystem;

struct Bucket {
  explicit Bucket(bool exists = true) {
    std::string path = fs::temp_directory_path() / "zest-file-XXXXXX";
    EXPECT_NE(::mkdtemp(path.data()), nullptr);
    base = path;
    root = base / "bucket";
    if (exists) {
      fs::create_directory(root);
    }
    auto made = make_file_store({.root = root}, pool);
    EXPECT_TRUE(made.ok());
    store = *std::move(made);
  }
  ~Bucket() { fs::remove_all(base); }

  Result<void> put(std::string_view key, std::string_view text) {
    ByteView const parts[] = {as_bytes(text)};
    return store->put(ctx, key, parts);
  }
  /// Names of everything below the root, files and directories.
  [[nodiscard]] std::vector<std::string> tree() const {
    std::vector<std::string> names;
    for (auto const& entry : fs::recursive_directory_iterator(root)) {
      names.push_back(fs::relative(entry.path(), root));
    }
    std::ranges::sort(names);
    return names;
  }

  Registry metrics;
  BlockingPool pool{{.name = "file", .threads = 4, .queue_max = 64}, metrics};
  fs::path base;
  fs::path root;
  std::unique_ptr<ObjectStore> store;
  Context ctx;
};

void on_loop(std::function<void()> const& test) {
  testing::run_on_loop(test);
}

/// How much of a file the kernel keeps in memory, in bytes.
std::size_t cached_bytes(fs::path const& path) {
  auto const size = fs::file_size(path);
  UniqueFd const fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  void* const map = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  std::vector<unsigned char> pages((size + 4095) / 4096);
  EXPECT_EQ(::mincore(map, size, pages.data()), 0);
  ::munmap(map, size);
  return 4096 * static_cast<std::size_t>(
                    std::ranges::count_if(pages, [](unsigned char page) { return page & 1; }));
}

bool has_a_disk(fs::path const& directory) {
  struct statfs found{};
  return ::statfs(directory.c_str(), &found) == 0 && found.f_type != TMPFS_MAGIC;
}

// Goal: large objects are whole whatever their parts look like in memory, and what can goes past
// the page cache.
TEST(FileStore, LargeObjectsGoPastThePageCache) {
  on_loop([] {
    Bucket bucket;
    constexpr std::size_t kMib = 1u << 20;
    BufferPool buffers(64 * kMib, bucket.metrics);
    auto memory = *buffers.acquire(bucket.ctx, 16 * kMib);
    for (std::size_t i = 0; i < memory.capacity(); ++i) {
      memory.data()[i] = static_cast<std::byte>(i * 7 + i / 4096);
    }
    struct Case {
      std::vector<std::pair<std::size_t, std::size_t>> parts;  // offset in memory, length
      std::size_t cached_max;
    };
    std::vector<Case> const cases = {
        {{{0, 4 * kMib}}, 0},
        {{{0, 4 * kMib + 17}}, 4096},
        {{{0, kMib}, {8 * kMib, kMib}, {2 * kMib, 4096}, {3 * kMib, 5}}, 4096},
        {{{0, 2 * kMib + 1}, {8 * kMib, kMib}},
         kMib + 4096},  // the second part starts within a page
        {{{1, 4 * kMib}}, 4 * kMib + 4096},
        {{{0, 4096}, {4096 + 1, 4 * kMib}}, 4 * kMib + 8192},
        {{{0, kMib - 1}}, kMib},
        {{}, 0},
    };
    auto const disk = has_a_disk(bucket.base);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      std::vector<ByteView> parts;
      std::string expected;
      for (auto const& [offset, length] : cases[i].parts) {
        parts.emplace_back(memory.data() + offset, length);
        expected.append(reinterpret_cast<char const*>(memory.data()) + offset, length);
      }
      auto const key = "big" + std::to_string(i);
      ASSERT_OK(bucket.store->put(bucket.ctx, key, parts));
      auto const past_cache = [&](std::size_t cached_max) {
        return !disk || expected.empty() || cached_bytes(bucket.root / key) <= cached_max;
      };
      EXPECT_TRUE(past_cache(cases[i].cached_max)) << key;
      auto found = *buffers.acquire(bucket.ctx, 16 * kMib);
      for (std::size_t const offset : {std::size_t{0}, 2 * kMib, 2 * kMib + 1}) {
        auto const rest = expected.size() > offset ? expected.size() - offset : 0;
        auto const read = bucket.store->get(bucket.ctx, key, {.offset = offset}, found.span());
        if (rest == 0 && offset > 0) {
          ASSERT_ERRC(read, Errc::inval);
          continue;
        }
        ASSERT_OK(read);
        EXPECT_EQ(*read, rest) << key;
        EXPECT_EQ(std::memcmp(found.data(), expected.data() + offset, rest), 0) << key;
        if (offset % 4096 == 0) {
          EXPECT_TRUE(past_cache(cases[i].cached_max)) << key << ", read from " << offset;
        }
      }
      std::ifstream file(bucket.root / key, std::ios::binary);
      EXPECT_TRUE(expected == std::string(std::istreambuf_iterator<char>(file), {})) << key;
    }
  });
}

// Goal: the layout and the modes that the peer expects, and nothing else left behind.
TEST(FileStore, LayoutOnDisk) {
  on_loop([] {
    Bucket bucket;
    auto const old_mask = ::umask(022);
    ASSERT_OK(bucket.put("vol/chunks/0/0/1_0_5", "hello"));
    ::umask(old_mask);
    EXPECT_EQ(bucket.tree(), (std::vector<std::string>{"vol", "vol/chunks", "vol/chunks/0",
                                                       "vol/chunks/0/0", "vol/chunks/0/0/1_0_5"}));
    struct stat st{};
    ASSERT_EQ(::stat((bucket.root / "vol/chunks/0/0/1_0_5").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777, 0644u);
    ASSERT_EQ(::stat((bucket.root / "vol/chunks").c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777, 0755u);
    EXPECT_EQ(bucket.store->describe(), "file://" + bucket.root.string() + "/");
  });
}

// Goal: what a killed process left behind is no object.
TEST(FileStore, TemporaryFilesAreNotListed) {
  on_loop([] {
    Bucket bucket;
    ASSERT_OK(bucket.put("d/1_0_5", "hello"));
    std::ofstream(bucket.root / "d/.jfs.2_0_5.tmp.123456") << "hel";
    auto const page = bucket.store->list(bucket.ctx, {});
    ASSERT_OK(page);
    ASSERT_EQ(page->objects.size(), 1u);
    EXPECT_EQ(page->objects[0].key, "d/1_0_5");
  });
}

// Goal: a put below a mount point without its disk fails instead of filling the disk below.
TEST(FileStore, MissingRootIsNotCreatedByPut) {
  on_loop([] {
    Bucket bucket(false);
    for (auto const* key : {"a", "a/b/c"}) {
      auto const result = bucket.put(key, "x");
      ASSERT_ERRC(result, Errc::io);
      EXPECT_NE(result.error().text().find(bucket.root.string()), std::string::npos);
      EXPECT_NE(result.error().text().find("does not exist"), std::string::npos);
    }
    EXPECT_FALSE(fs::exists(bucket.root));
    auto const page = bucket.store->list(bucket.ctx, {});
    ASSERT_OK(page);
    EXPECT_TRUE(page->objects.empty());
    ASSERT_OK(bucket.store->create(bucket.ctx));
    ASSERT_OK(bucket.store->create(bucket.ctx));
    ASSERT_OK(bucket.put("a/b/c", "x"));
  });
}

// Goal: a write that fails half-way names the place and leaves no temporary file. A limit of the
// file size stands for a full disk.
TEST(FileStore, FailedWriteLeavesNothing) {
  on_loop([] {
    Bucket bucket;
    auto const old_handler = std::signal(SIGXFSZ, SIG_IGN);
    rlimit old_limit{};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old_limit), 0);
    rlimit const limit{.rlim_cur = 10'000, .rlim_max = old_limit.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    auto const result = bucket.put("d/k", std::string(50'000, 'x'));
    ::setrlimit(RLIMIT_FSIZE, &old_limit);
    std::signal(SIGXFSZ, old_handler);
    ASSERT_ERRC(result, Errc::fbig);
    EXPECT_NE(result.error().text().find((bucket.root / "d").string()), std::string::npos);
    EXPECT_EQ(bucket.tree(), std::vector<std::string>{"d"});
  });
}

TEST(FileStore, RenameOntoADirectoryFailsAndLeavesNothing) {
  on_loop([] {
    Bucket bucket;
    fs::create_directories(bucket.root / "d/k");
    auto const result = bucket.put("d/k", "x");
    ASSERT_ERRC(result, Errc::isdir);
    EXPECT_EQ(bucket.tree(), (std::vector<std::string>{"d", "d/k"}));
  });
}

// Goal: a cleaner that removes empty directories all the time doesn't make puts fail.
TEST(FileStore, ParentsRemovedMeanwhileAreMadeAgain) {
  on_loop([] {
    Bucket bucket;
    std::atomic<bool> stop = false;
    std::thread cleaner([&] {
      auto const inner = bucket.root / "a/b";
      while (!stop) {
        ::rmdir(inner.c_str());
        ::rmdir(inner.parent_path().c_str());
        ::usleep(50);  // a real cleaner looks before it removes
      }
    });
    int failures = 0;
    for (int i = 0; i < 300; ++i) {
      auto const result = bucket.put("a/b/k", "x");
      failures += result.ok() ? 0 : 1;
      EXPECT_TRUE(result.ok()) << result.error().text();
      ASSERT_OK(bucket.store->remove(bucket.ctx, "a/b/k"));
    }
    stop = true;
    cleaner.join();
    EXPECT_EQ(failures, 0);
  });
}

TEST(FileStore, HostileKeysAreRefused) {
  on_loop([] {
    Bucket bucket;
    for (std::string_view const key :
         {std::string_view(""), std::string_view("/etc/passwd"), std::string_view("../x"),
          std::string_view("a/../../x"), std::string_view("a//b"), std::string_view("./a"),
          std::string_view("a/"), std::string_view("a\0b", 3)}) {
      SCOPED_TRACE(key);
      ASSERT_ERRC(bucket.put(key, "x"), Errc::inval);
      ASSERT_ERRC(bucket.store->head(bucket.ctx, key), Errc::inval);
    }
    ASSERT_ERRC(bucket.store->remove(bucket.ctx, "../"), Errc::inval);
    EXPECT_TRUE(bucket.tree().empty());
    EXPECT_EQ(std::distance(fs::directory_iterator(bucket.base), fs::directory_iterator()), 1);
  });
}

// Goal: remove() of a folder takes away an empty one only.
TEST(FileStore, FoldersAreRemovedWhenEmpty) {
  on_loop([] {
    Bucket bucket;
    ASSERT_OK(bucket.put("testing/x", "x"));
    ASSERT_OK(bucket.store->remove(bucket.ctx, "testing/"));
    ASSERT_OK(bucket.store->head(bucket.ctx, "testing/x"));
    ASSERT_OK(bucket.store->remove(bucket.ctx, "testing/x"));
    ASSERT_OK(bucket.store->remove(bucket.ctx, "testing/"));
    EXPECT_TRUE(bucket.tree().empty());
    ASSERT_OK(bucket.store->remove(bucket.ctx, "testing/"));
  });
}

// Goal: directories larger than the batch of names that a listing holds are listed completely.
TEST(FileStore, BytesInThePageCacheAreReadWithoutWaiting) {
  on_loop([] {
    Bucket bucket;
    std::string const content(10'000, 'x');
    ASSERT_OK(bucket.put("small", content));
    auto const path = bucket.root / "small";
    std::string found(5000, '\0');
    auto const read = [&](std::uint64_t offset) {
      return file_store::read_cached(path.c_str(), offset,
                                     std::as_writable_bytes(std::span(found)));
    };
    EXPECT_TRUE(read(5000));
    EXPECT_EQ(found, content.substr(5000));
    EXPECT_FALSE(read(5001)) << "less than asked for";
    EXPECT_FALSE(file_store::read_cached((path.string() + "2").c_str(), 0, {}));
    if (has_a_disk(bucket.base)) {
      UniqueFd const fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      ASSERT_EQ(::fdatasync(fd.get()), 0);
      ASSERT_EQ(::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
      EXPECT_FALSE(read(0)) << "only the disk has it";
    }
  });
}

TEST(FileStore, LargeDirectoriesAreListedInBatches) {
  on_loop([] {
    Bucket bucket;
    constexpr int kFiles = 9000;
    for (int i = 0; i < kFiles; ++i) {
      std::ofstream(bucket.root / std::to_string(i * 7919 % kFiles));
    }
    std::size_t seen = 0;
    std::string last;
    ListObjects request{.limit = 100'000};
    auto const page = bucket.store->list(bucket.ctx, request);
    ASSERT_OK(page);
    for (auto const& object : page->objects) {
      ASSERT_LT(last, object.key);
      last = object.key;
      ++seen;
    }
    EXPECT_EQ(seen, kFiles);
  });
}

TEST(FileStore, SyncOfAMissingObjectFails) {
  on_loop([] {
    Bucket bucket;
    std::string const keys[] = {"no/such"};
    ASSERT_ERRC(bucket.store->sync(bucket.ctx, keys), Errc::noent);
  });
}

TEST(FileStore, RelativeRootIsRefused) {
  Registry metrics;
  BlockingPool pool({}, metrics);
  ASSERT_ERRC(make_file_store({.root = "relative/dir"}, pool), Errc::inval);
}

}  // namespace
}  // namespace zest
