#include <algorithm>
#include <map>
#include <random>

#include "tests/conformance/object/store_suite.h"
#include "zest/base/clock.h"
#include "zest/runtime/sync.h"

namespace zest::testing {
namespace {

Result<void> put_text(StoreFixture& f, std::string_view key, std::string_view text) {
  ByteView const parts[] = {as_bytes(text)};
  return f.store().put(f.ctx, key, parts);
}

Result<std::string> get_text(StoreFixture& f, std::string_view key, ByteRange range = {},
                             std::size_t room = 1u << 20) {
  std::string text(room, '\0');
  ZEST_TRY(auto const n,
           f.store().get(f.ctx, key, range,
                         std::as_writable_bytes(std::span(text.data(), text.size()))));
  text.resize(n);
  return text;
}

std::vector<std::string> keys_of(ObjectPage const& page) {
  std::vector<std::string> keys;
  for (auto const& object : page.objects) {
    keys.push_back(object.key);
  }
  return keys;
}

// Goal: reading what isn't there is ENOENT, removing it is success.
TEST_P(StoreTest, MissingObject) {
  with_store([](StoreFixture& f) {
    ASSERT_OK(put_text(f, "a/b", "x"));
    for (auto const* key : {"a/c", "a", "b/c/d", "a/b/c"}) {
      SCOPED_TRACE(key);
      ASSERT_ERRC(get_text(f, key), Errc::noent);
      ASSERT_ERRC(f.store().head(f.ctx, key), Errc::noent);
      ASSERT_OK(f.store().remove(f.ctx, key));
    }
    auto const text = get_text(f, "a/b");
    ASSERT_OK(text);
    EXPECT_EQ(*text, "x");
  });
}

// Goal: the object is the concatenation of the parts, whatever their number and size.
TEST_P(StoreTest, PutConcatenatesParts) {
  with_store([](StoreFixture& f) {
    std::string const big(3'000'001, 'q');
    std::string expected;
    std::vector<ByteView> parts;
    for (int i = 0; i < 100; ++i) {
      std::string_view const part = i == 50 ? std::string_view(big) : i % 2 == 0 ? "ab" : "";
      parts.push_back(as_bytes(part));
      expected += part;
    }
    ASSERT_OK(f.store().put(f.ctx, "k", parts));
    auto const text = get_text(f, "k", {}, 4u << 20);
    ASSERT_OK(text);
    EXPECT_TRUE(*text == expected);
    auto const info = f.store().head(f.ctx, "k");
    ASSERT_OK(info);
    EXPECT_EQ(info->size, expected.size());
    EXPECT_EQ(info->key, "k");
  });
}

TEST_P(StoreTest, EmptyObject) {
  with_store([](StoreFixture& f) {
    ASSERT_OK(f.store().put(f.ctx, "empty", {}));
    auto const text = get_text(f, "empty");
    ASSERT_OK(text);
    EXPECT_EQ(*text, "");
    auto const info = f.store().head(f.ctx, "empty");
    ASSERT_OK(info);
    EXPECT_EQ(info->size, 0u);
  });
}

TEST_P(StoreTest, Ranges) {
  with_store([](StoreFixture& f) {
    ASSERT_OK(put_text(f, "k", "0123456789"));
    struct Row {
      ByteRange range;
      std::size_t room;
      std::string_view expected;
    };
    for (auto const& row :
         {Row{{0, 3}, 100, "012"}, Row{{3, 4}, 100, "3456"}, Row{{7, 100}, 100, "789"},
          Row{{2, 8}, 3, "234"}, Row{{9, 1}, 1, "9"}, Row{{5}, 100, "56789"}, Row{{}, 4, "0123"}}) {
      SCOPED_TRACE(row.expected);
      auto const text = get_text(f, "k", row.range, row.room);
      ASSERT_OK(text);
      EXPECT_EQ(*text, row.expected);
    }
    ASSERT_ERRC(get_text(f, "k", {10, 1}), Errc::inval);
    ASSERT_ERRC(get_text(f, "k", {1000, 1}), Errc::inval);
  });
}

TEST_P(StoreTest, PutReplaces) {
  with_store([](StoreFixture& f) {
    ASSERT_OK(put_text(f, "a/k", "a longer first version"));
    ASSERT_OK(put_text(f, "a/k", "second"));
    auto const text = get_text(f, "a/k");
    ASSERT_OK(text);
    EXPECT_EQ(*text, "second");
    ASSERT_OK(f.store().remove(f.ctx, "a/k"));
    ASSERT_ERRC(f.store().head(f.ctx, "a/k"), Errc::noent);
  });
}

// Goal: while an object is replaced, readers see one version or the other, whole.
TEST_P(StoreTest, PutIsAtomic) {
  with_store([](StoreFixture& f) {
    ASSERT_OK(put_text(f, "k", std::string(100'000, 'a')));
    Scope scope;
    bool writing = true;
    scope.spawn([&] {
      for (int i = 0; i < 100; ++i) {
        ASSERT_OK(put_text(f, "k", std::string(100'000, static_cast<char>('a' + i % 26))));
      }
      writing = false;
    });
    int reads = 0;
    do {
      auto const text = get_text(f, "k");
      ASSERT_OK(text);
      ASSERT_EQ(text->size(), 100'000u);
      ASSERT_EQ(text->find_first_not_of(text->front()), std::string::npos);
      ++reads;
      Loop::current()->yield();
    } while (writing);
    scope.join();
    EXPECT_GT(reads, 0);
  });
}

TEST_P(StoreTest, ModificationTimeIsNow) {
  with_store([](StoreFixture& f) {
    auto const before = SystemClock().wall().sec;
    ASSERT_OK(put_text(f, "k", "x"));
    auto const info = f.store().head(f.ctx, "k");
    ASSERT_OK(info);
    EXPECT_GE(info->mtime.sec, before - 2);
    EXPECT_LE(info->mtime.sec, SystemClock().wall().sec + 2);
  });
}

TEST_P(StoreTest, SyncOfStoredObjects) {
  with_store([](StoreFixture& f) {
    ASSERT_OK(put_text(f, "a/b/c", "x"));
    ASSERT_OK(put_text(f, "a/d", "x"));
    ASSERT_OK(put_text(f, "e", "x"));
    std::string const keys[] = {"a/b/c", "a/d", "e"};
    ASSERT_OK(f.store().sync(f.ctx, keys));
    ASSERT_OK(f.store().sync(f.ctx, {}));
  });
}

// Goal: listings are in byte order of whole keys, though a tree is sorted otherwise: '-' and '.'
// come before '/', '0' behind it.
TEST_P(StoreTest, ListIsInByteOrder) {
  with_store([](StoreFixture& f) {
    std::vector<std::string> keys = {"a-b",
                                     "a.b",
                                     "a/x",
                                     "a/y/z",
                                     "a0",
                                     "a/x.1",
                                     "a/x/q",
                                     "A",
                                     "chunks/0/0/10_0_1",
                                     "chunks/0/0/2_0_1",
                                     "chunks/0.x",
                                     "\xC3\xA9",
                                     "~",
                                     "a/.hidden"};
    keys.erase(std::ranges::find(keys, "a/x"));  // cannot be beside a/x/q everywhere
    for (auto const& key : keys) {
      ASSERT_OK(put_text(f, key, key));
    }
    std::ranges::sort(keys);
    auto const page = f.store().list(f.ctx, {});
    ASSERT_OK(page);
    EXPECT_EQ(keys_of(*page), keys);
    EXPECT_FALSE(page->more);
    for (auto const& object : page->objects) {
      EXPECT_EQ(object.size, object.key.size());
    }
  });
}

// Goal: every prefix, start and page size gives what a sorted map gives.
TEST_P(StoreTest, ListPagesEqualAModel) {
  with_store([](StoreFixture& f) {
    std::mt19937_64 random(11);
    auto const word = [&] {
      constexpr std::string_view kLetters = "ab.-0z";
      std::string text = "f";
      for (auto n = random() % 3; n > 0; --n) {
        text += kLetters[random() % kLetters.size()];
      }
      return text;
    };
    std::map<std::string, std::size_t> model;
    for (int i = 0; i < 150; ++i) {
      // Names of folders and of objects differ, so that a tree can hold all of them.
      std::string key;
      for (auto depth = random() % 4; depth > 0; --depth) {
        key += "d" + word() + "/";
      }
      key += word();
      std::string const text(random() % 50, 'x');
      ASSERT_OK(put_text(f, key, text));
      model[key] = text.size();
    }
    for (int i = 0; i < 200; ++i) {
      auto const some_key = std::next(model.begin(), static_cast<long>(random() % model.size()));
      auto const cut = random() % (some_key->first.size() + 1);
      ListObjects request{.prefix = some_key->first.substr(0, cut), .limit = 1 + random() % 20};
      if (random() % 2 == 0) {
        request.after = std::next(model.begin(), static_cast<long>(random() % model.size()))->first;
        request.after.resize(random() % (request.after.size() + 1));
      }
      std::vector<std::string> expected;
      for (auto it = model.upper_bound(request.after); it != model.end(); ++it) {
        if (it->first.starts_with(request.prefix)) {
          expected.push_back(it->first);
        }
      }
      SCOPED_TRACE("prefix=" + request.prefix + " after=" + request.after);
      std::vector<std::string> got;
      while (true) {
        auto const page = f.store().list(f.ctx, request);
        ASSERT_OK(page);
        ASSERT_LE(page->objects.size(), request.limit);
        for (auto const& object : page->objects) {
          got.push_back(object.key);
          ASSERT_EQ(object.size, model[object.key]);
        }
        if (!page->more) {
          break;
        }
        ASSERT_FALSE(page->objects.empty());
        request.after = page->objects.back().key;
      }
      ASSERT_EQ(got, expected);
    }
  });
}

// Goal: a copy has the content of its source, replaces what was there, and is an object of its own.
TEST_P(StoreTest, Copy) {
  with_store([](StoreFixture& f) {
    if (!f.store().capabilities().copy) {
      ASSERT_ERRC(f.store().copy(f.ctx, {.from = "a", .to = "b"}), Errc::notsup);
      return;
    }
    std::string const big(3'000'001, 'q');
    ASSERT_OK(put_text(f, "a/b c+%", big));
    ASSERT_OK(put_text(f, "x/y", "old"));
    ASSERT_OK(f.store().copy(f.ctx, {.from = "a/b c+%", .to = "x/y"}));
    ASSERT_OK(f.store().copy(f.ctx, {.from = "a/b c+%", .to = "new/z"}));
    ASSERT_OK(f.store().remove(f.ctx, "a/b c+%"));
    for (auto const* key : {"x/y", "new/z"}) {
      auto const text = get_text(f, key, {}, 4u << 20);
      ASSERT_OK(text);
      EXPECT_TRUE(*text == big);
    }
    ASSERT_ERRC(f.store().copy(f.ctx, {.from = "a/b c+%", .to = "x/y"}), Errc::noent);
  });
}

// Goal: a multipart upload is nothing until it is complete, then it is the parts in their order;
// parts come in any order, and again; an aborted upload is gone.
TEST_P(StoreTest, MultipartUpload) {
  with_store([](StoreFixture& f) {
    auto const& can = f.store().capabilities();
    if (!can.multipart) {
      ASSERT_ERRC(f.store().create_upload(f.ctx, "k"), Errc::notsup);
      return;
    }
    std::string const first(can.part_bytes_min + 10, 'a');
    std::string const second(can.part_bytes_min + 3, 'b');
    auto const upload = f.store().create_upload(f.ctx, "a/k");
    ASSERT_OK(upload);
    EXPECT_EQ(upload->key, "a/k");
    auto const part = [&](std::uint32_t number, std::string_view head, std::string_view tail) {
      ByteView const parts[] = {as_bytes(head), as_bytes(tail)};
      return f.store().upload_part(f.ctx, *upload, number, parts);
    };
    auto last = part(7, "the ", "end");
    ASSERT_OK(last);
    ASSERT_OK(part(2, first, "replaced"));
    auto one = part(1, first, "");
    ASSERT_OK(one);
    auto two = part(2, second, "x");
    ASSERT_OK(two);
    ASSERT_ERRC(f.store().head(f.ctx, "a/k"), Errc::noent);
    UploadedPart const wrong[] = {*two, *one};
    ASSERT_ERRC(f.store().complete_upload(f.ctx, *upload, wrong), Errc::inval);
    UploadedPart const parts[] = {*one, *two, *last};
    ASSERT_OK(f.store().complete_upload(f.ctx, *upload, parts));
    auto const text = get_text(f, "a/k", {}, 3 * can.part_bytes_min + 100);
    ASSERT_OK(text);
    EXPECT_TRUE(*text == first + second + "xthe end");
    auto const other = f.store().create_upload(f.ctx, "a/never");
    ASSERT_OK(other);
    ByteView const some[] = {as_bytes("x")};
    auto const stored = f.store().upload_part(f.ctx, *other, 1, some);
    ASSERT_OK(stored);
    ASSERT_OK(f.store().abort_upload(f.ctx, *other));
    ASSERT_OK(f.store().abort_upload(f.ctx, *other));
    ASSERT_ERRC(f.store().upload_part(f.ctx, *other, 1, some), Errc::noent);
    UploadedPart const gone[] = {*stored};
    ASSERT_ERRC(f.store().complete_upload(f.ctx, *other, gone), Errc::noent);
    ASSERT_ERRC(f.store().head(f.ctx, "a/never"), Errc::noent);
  });
}

// Goal: many fibers at once, in directories that don't exist yet, lose nothing.
TEST_P(StoreTest, ParallelPutsAndRemoves) {
  with_store([](StoreFixture& f) {
    Scope scope;
    for (int i = 0; i < 50; ++i) {
      scope.spawn([&f, i] {
        auto const key = "p/" + std::to_string(i % 5) + "/" + std::to_string(i);
        ASSERT_OK(put_text(f, key, key));
        auto const text = get_text(f, key);
        ASSERT_OK(text);
        ASSERT_EQ(*text, key);
        if (i % 2 == 0) {
          ASSERT_OK(f.store().remove(f.ctx, key));
        }
      });
    }
    scope.join();
    auto const page = f.store().list(f.ctx, {.prefix = "p/"});
    ASSERT_OK(page);
    EXPECT_EQ(page->objects.size(), 25u);
  });
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreTest, ::testing::ValuesIn(store_cases()),
                         [](auto const& param) { return param.param.name; });

}  // namespace
}  // namespace zest::testing
