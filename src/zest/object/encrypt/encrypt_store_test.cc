#include "zest/object/encrypt/encrypt_store.h"

#include <gtest/gtest.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <vector>

#include "zest/object/mem/mem_store.h"
#include "zest/object/testing/expect.h"
#include "zest/object/testing/faulty_store.h"
#include "zest/runtime/testing.h"

namespace zest {
namespace {

using testing::FaultyStore;
using testing::StoreOp;

enum class Kind : std::uint8_t { rsa, ec };

/// A fresh key in PEM; PBES2 under `passphrase` if there is one.
std::string make_pem(std::string const& passphrase, Kind kind = Kind::rsa) {
  EVP_PKEY* const key = kind == Kind::rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
  BIO* const out = BIO_new(BIO_s_mem());
  PEM_write_bio_PKCS8PrivateKey(out, key, passphrase.empty() ? nullptr : EVP_aes_256_cbc(),
                                passphrase.data(), static_cast<int>(passphrase.size()), nullptr,
                                nullptr);
  char* data = nullptr;
  auto const size = BIO_get_mem_data(out, &data);
  std::string pem(data, static_cast<std::size_t>(size));
  BIO_free(out);
  EVP_PKEY_free(key);
  return pem;
}

std::string const& shared_pem() {
  static std::string const pem = make_pem("");
  return pem;
}

std::unique_ptr<Sealer> make_sealer(std::string_view algorithm, std::string const& pem) {
  return *Sealer::create(*PrivateKey::parse(pem, ""), algorithm);
}

/// An encrypted store above one in memory, whose bytes the test sees and changes.
struct Volume {
  explicit Volume(std::string_view algorithm, std::string const& pem = shared_pem())
      : store(make_encrypt_store(std::make_unique<FaultyStore>(*mem), make_sealer(algorithm, pem),
                                 pool)) {}

  Result<void> put(std::string const& text) {
    auto const half = text.size() / 2;
    ByteView const parts[] = {as_bytes(text).first(half), as_bytes(text).subspan(half)};
    return store->put(ctx, "k", parts);
  }
  Result<std::string> get(ByteRange range, std::size_t room) {
    std::string out(room, '?');
    ZEST_TRY(auto const got, store->get(ctx, "k", range, std::as_writable_bytes(std::span(out))));
    out.resize(got);
    return out;
  }
  std::string stored() {
    std::string out(1 << 20, '\0');
    auto const got = mem->get(ctx, "k", {}, std::as_writable_bytes(std::span(out)));
    EXPECT_TRUE(got.ok());
    out.resize(got.ok() ? *got : 0);
    return out;
  }
  Result<void> replace(std::string const& bytes) {
    ByteView const parts[] = {as_bytes(bytes)};
    return mem->put(ctx, "k", parts);
  }

  Registry metrics;
  BlockingPool pool{{.name = "test", .threads = 2, .queue_max = 8}, metrics};
  std::unique_ptr<ObjectStore> mem = make_mem_store();
  std::unique_ptr<ObjectStore> store;
  Context ctx;
};

class Algorithms : public ::testing::TestWithParam<std::string_view> {};
INSTANTIATE_TEST_SUITE_P(EncryptStore, Algorithms,
                         ::testing::Values("", "aes256gcm-rsa", "chacha20-rsa"));

// Goal: what is put comes back, whole and in ranges, also where the buffer is smaller or larger
// than the object; and no plain text is stored.
TEST_P(Algorithms, ComeBackWholeAndInRanges) {
  testing::run_on_loop([] {
    Volume v(GetParam());
    std::string text;
    for (int i = 0; i < 20'000; ++i) {
      text += static_cast<char>('a' + i % 23);
    }
    ASSERT_OK(v.put(text));
    EXPECT_EQ(*v.get({}, text.size()), text);
    EXPECT_EQ(*v.get({}, 3 * text.size()), text);
    EXPECT_EQ(*v.get({}, 10), text.substr(0, 10));
    EXPECT_EQ(*v.get({.offset = 7000, .length = 50}, 100), text.substr(7000, 50));
    EXPECT_EQ(*v.get({.offset = 19'990, .length = 50}, 100), text.substr(19'990));
    ASSERT_ERRC(v.get({.offset = 20'000, .length = 1}, 1), Errc::inval);
    EXPECT_EQ(v.stored().size(), text.size() + 3 + 256 + 12 + 16);
    EXPECT_EQ(v.stored().find(text.substr(0, 23)), std::string::npos);
  });
}

// Goal: a flipped bit anywhere and every truncation are found, and the message names the object.
TEST_P(Algorithms, FindEveryKindOfDamage) {
  testing::run_on_loop([] {
    Volume v(GetParam());
    ASSERT_OK(v.put("some plain text"));
    auto const good = v.stored();
    for (std::size_t at = 0; at < good.size(); ++at) {
      auto bad = good;
      bad[at] = static_cast<char>(bad[at] ^ 4);
      ASSERT_OK(v.replace(bad));
      auto const got = v.get({}, 15);
      ASSERT_ERRC(got, Errc::io);
      ASSERT_EQ(got.error().fault(), Fault::corrupt) << at;
      ASSERT_NE(got.error().text().find("object k of"), std::string::npos);
    }
    for (std::size_t size = 0; size < good.size(); ++size) {
      ASSERT_OK(v.replace(good.substr(0, size)));
      ASSERT_ERRC(v.get({}, 15), Errc::io);
    }
  });
}

TEST(EncryptStore, TwoObjectsOfOneTextDiffer) {
  testing::run_on_loop([] {
    Volume v("aes256gcm-rsa");
    ASSERT_OK(v.put("the same"));
    auto const first = v.stored();
    ASSERT_OK(v.put("the same"));
    EXPECT_NE(v.stored(), first);
  });
}

TEST(EncryptStore, AnotherKeyOrAlgorithmIsCorrupt) {
  testing::run_on_loop([] {
    Volume v("aes256gcm-rsa");
    ASSERT_OK(v.put("secret text"));
    Volume other("aes256gcm-rsa", make_pem(""));
    ASSERT_OK(other.replace(v.stored()));
    ASSERT_ERRC(other.get({}, 11), Errc::io);
    Volume chacha("chacha20-rsa");
    ASSERT_OK(chacha.replace(v.stored()));
    ASSERT_ERRC(chacha.get({}, 11), Errc::io);
  });
}

TEST(EncryptStore, RefusesWhatTheFormatCannotHold) {
  testing::run_on_loop([] {
    Volume v("");
    ASSERT_ERRC(v.put(""), Errc::inval);
    EXPECT_FALSE(v.store->capabilities().ranged_get);
    EXPECT_FALSE(v.store->capabilities().multipart);
    ASSERT_ERRC(v.store->create_upload(v.ctx, "k"), Errc::notsup);
    ASSERT_ERRC(v.get({}, 5), Errc::noent);
  });
}

TEST(PrivateKey, Passphrases) {
  auto const pem = make_pem("opensesame");
  ASSERT_OK(PrivateKey::parse(pem, "opensesame"));
  ASSERT_OK(PrivateKey::parse(shared_pem(), "not needed"));
  auto const missing = PrivateKey::parse(pem, "");
  ASSERT_ERRC(missing, Errc::acces);
  EXPECT_NE(missing.error().text().find("JFS_RSA_PASSPHRASE"), std::string::npos);
  auto const wrong = PrivateKey::parse(pem, "closesesame");
  ASSERT_ERRC(wrong, Errc::acces);
  EXPECT_EQ(wrong.error().text().find("closesesame"), std::string::npos);
}

TEST(PrivateKey, OtherThingsAreRefused) {
  ASSERT_ERRC(PrivateKey::parse("", ""), Errc::inval);
  ASSERT_ERRC(PrivateKey::parse("-----BEGIN PRIVATE KEY-----\nAAAA\n", ""), Errc::inval);
  ASSERT_ERRC(PrivateKey::parse(make_pem("", Kind::ec), ""), Errc::notsup);
  ASSERT_ERRC(Sealer::create(*PrivateKey::parse(shared_pem(), ""), "sm4gcm"), Errc::notsup);
  ASSERT_ERRC(Sealer::create(*PrivateKey::parse(shared_pem(), ""), "rot13"), Errc::inval);
}

}  // namespace
}  // namespace zest
