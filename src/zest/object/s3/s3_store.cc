#include "zest/object/s3/s3_store.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "zest/format/crc32c.h"
#include "zest/object/s3/reply.h"
#include "zest/object/s3/sign.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/mutex.h"

namespace zest {
namespace {

using s3::Refusal;

constexpr StoreCapabilities kCapabilities{.durable_put = true,
                                          .ranged_get = true,
                                          .near = false,
                                          .copy = true,
                                          .multipart = true,
                                          .part_bytes_min = 5u << 20,
                                          .parts_max = 10'000};
constexpr std::size_t kListMax = 1000;  // objects of a page; servers give no more
// A page that MinIO begins behind a key may lack some objects at its end, and says that nothing
// follows. So more is asked for than is wanted, and only an empty page ends such a listing.
constexpr std::size_t kListSpare = 100;
constexpr std::size_t kListBytesMax = 8u << 20;    // a page of the longest keys, escaped
constexpr std::size_t kPoolBytesMin = 128u << 10;  // less is hashed sooner than handed over
constexpr std::string_view kChecksumField = "x-amz-meta-crc32c";
constexpr std::string_view kSumField = "x-amz-checksum-crc32c";

std::size_t total_size(std::span<ByteView const> parts) {
  std::size_t size = 0;
  for (auto const part : parts) {
    size += part.size();
  }
  return size;
}

/// As x-amz-checksum-crc32c has it: big-endian, in base 64.
std::string base64_of(std::uint32_t crc) {
  std::array<unsigned char, 4> bytes{
      static_cast<unsigned char>(crc >> 24U), static_cast<unsigned char>(crc >> 16U),
      static_cast<unsigned char>(crc >> 8U), static_cast<unsigned char>(crc)};
  std::array<unsigned char, 9> text{};
  auto const size = EVP_EncodeBlock(text.data(), bytes.data(), bytes.size());
  return {text.begin(), text.begin() + size};
}

bool is_region(std::string_view text) {
  return !text.empty() && text.size() < 64 &&
         std::ranges::all_of(
             text,
             [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

std::string range_field(std::uint64_t offset, std::uint64_t length) {
  auto const last = length - 1 > std::numeric_limits<std::uint64_t>::max() - offset
                        ? std::string()
                        : std::to_string(offset + length - 1);
  return "bytes=" + std::to_string(offset) + "-" + last;
}

/// One request, before it is addressed and signed.
struct Call {
  std::string_view method;
  std::string_view key;  ///< empty = the bucket itself
  std::vector<http::Field> query;
  std::vector<http::Field> fields;
  std::span<ByteView const> body;
  ByteSpan into;
  bool straight = false;
  std::size_t text_max = 1u << 20;
};

class S3Store final : public ObjectStore {
 public:
  S3Store(S3StoreOptions options, BlockingPool& pool)
      : place_(std::move(options.place)),
        credentials_(std::move(options.credentials)),
        storage_class_(std::move(options.storage_class)),
        pool_(pool),
        client_(std::move(options.client)),
        region_(place_.region) {}

  [[nodiscard]] StoreCapabilities const& capabilities() const noexcept override {
    return kCapabilities;
  }
  [[nodiscard]] std::string describe() const override { return place_.describe(); }

  Result<void> create(Context const& ctx) override {
    auto there = send(ctx, {.method = "HEAD"});
    if (!failed_with(there, Errc::noent)) {
      return checked(std::move(there));
    }
    std::string const where = region();
    std::string const xml =
        "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
        "<LocationConstraint>" +
        where + "</LocationConstraint></CreateBucketConfiguration>";
    ByteView const body[] = {as_bytes(xml)};
    bool const named = where != "us-east-1";  // the one that must not be named
    ZEST_TRY(auto const reply, exchange(ctx, {.method = "PUT",
                                              .body = named ? std::span<ByteView const>(body)
                                                            : std::span<ByteView const>()}));
    auto const refusal = s3::parse_refusal(reply.head, reply.text);
    if (refusal && refusal->code != "BucketAlreadyOwnedByYou") {
      return explained(*refusal, "creating the bucket");
    }
    return {};
  }

  Result<std::size_t> get(Context const& ctx, std::string_view key, ByteRange range,
                          ByteSpan out) override {
    auto const wanted = std::min<std::uint64_t>(range.length, out.size());
    bool const whole = range.offset == 0 && range.length >= out.size();
    if (wanted == 0 && !whole) {
      return get_nothing(ctx, key, range.offset);
    }
    Call call{.method = "GET", .key = key, .into = out.first(wanted), .straight = true};
    if (!whole || range.length != std::numeric_limits<std::uint64_t>::max()) {
      call.fields.push_back({"Range", range_field(range.offset, wanted)});
    }
    bool const ranged = !call.fields.empty();
    ZEST_TRY(auto const reply, send(ctx, std::move(call)));
    if (ranged) {
      ZEST_CHECK(check_range(reply.head, range.offset));
    }
    if (!reply.more && range.offset == 0) {
      ZEST_CHECK(check_sum(reply.head, out.first(reply.size)));
    }
    return reply.size;
  }

  Result<void> put(Context const& ctx, std::string_view key,
                   std::span<ByteView const> parts) override {
    Call call{.method = "PUT", .key = key, .fields = new_object_fields(), .body = parts};
    if (place_.checksum) {
      auto const crc = on_pool(total_size(parts), [&] {
        std::uint32_t sum = 0;
        for (auto const part : parts) {
          sum = crc32c(part, sum);
        }
        return sum;
      });
      call.fields.push_back({std::string(kChecksumField), std::to_string(crc)});
      call.fields.push_back({std::string(kSumField), base64_of(crc)});
    }
    return checked(send(ctx, std::move(call)));
  }

  Result<void> remove(Context const& ctx, std::string_view key) override {
    auto reply = send(ctx, {.method = "DELETE", .key = key});
    return failed_with(reply, Errc::noent) ? Result<void>() : checked(std::move(reply));
  }

  Result<ObjectInfo> head(Context const& ctx, std::string_view key) override {
    ZEST_TRY(auto const reply, send(ctx, {.method = "HEAD", .key = key}));
    ObjectInfo info{.key = std::string(key)};
    auto const* const size = reply.head.find("Content-Length");
    auto const* const time = reply.head.find("Last-Modified");
    auto const mtime = time == nullptr ? std::nullopt : s3::parse_time(*time);
    if (size == nullptr || !mtime ||
        std::from_chars(size->data(), size->data() + size->size(), info.size).ec != std::errc{}) {
      return Error::transient(Errc::io, describe() + ": HEAD " + info.key +
                                            ": the reply has no Content-Length or Last-Modified");
    }
    info.mtime = *mtime;
    return info;
  }

  Result<ObjectPage> list(Context const& ctx, ListObjects const& request) override {
    auto asked = request;
    asked.limit = std::min(request.limit + kListSpare, kListMax);
    std::vector<http::Field> query{{"list-type", "2"},
                                   {"encoding-type", "url"},
                                   {"max-keys", std::to_string(asked.limit)},
                                   {"prefix", request.prefix}};
    if (!request.after.empty()) {
      query.push_back({"start-after", request.after});
    }
    ZEST_TRY(auto const reply,
             send(ctx, {.method = "GET", .query = std::move(query), .text_max = kListBytesMax}));
    auto page = s3::parse_list(reply.text, asked);
    if (!page.ok()) {
      return std::move(page).error().with(describe());
    }
    page->more = page->more || (!request.after.empty() && !page->objects.empty());
    if (page->objects.size() > request.limit) {
      page->objects.resize(request.limit);
      page->more = true;
    }
    return page;
  }

  Result<void> sync(Context const&, std::span<std::string const>) override { return {}; }

  Result<void> copy(Context const& ctx, CopyObject const& request) override {
    auto fields = new_object_fields();
    fields.push_back({"x-amz-copy-source", "/" + http::percent_encode(place_.bucket, false) + "/" +
                                               http::percent_encode(request.from, true)});
    return checked(send(ctx, {.method = "PUT", .key = request.to, .fields = std::move(fields)}));
  }

  Result<Upload> create_upload(Context const& ctx, std::string_view key) override {
    ZEST_TRY(auto const reply, send(ctx, {.method = "POST",
                                          .key = key,
                                          .query = {{"uploads", ""}},
                                          .fields = new_object_fields()}));
    Upload upload{.key = std::string(key),
                  .id = s3::parse_element(reply.text, "InitiateMultipartUploadResult", "UploadId")};
    if (upload.id.empty()) {
      return Error::transient(Errc::io, describe() + ": the upload that was begun has no id");
    }
    return upload;
  }

  Result<UploadedPart> upload_part(Context const& ctx, Upload const& upload, std::uint32_t number,
                                   std::span<ByteView const> parts) override {
    ZEST_TRY(auto const reply,
             send(ctx, {.method = "PUT",
                        .key = upload.key,
                        .query = {{"partNumber", std::to_string(number)}, {"uploadId", upload.id}},
                        .body = parts}));
    auto const* const tag = reply.head.find("ETag");
    if (tag == nullptr || tag->find_first_of("<>&") != std::string::npos) {
      return Error::transient(Errc::io, describe() + ": a stored part has no ETag");
    }
    return UploadedPart{.number = number, .tag = *tag};
  }

  Result<void> complete_upload(Context const& ctx, Upload const& upload,
                               std::span<UploadedPart const> parts) override {
    std::string xml = "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
    for (auto const& part : parts) {
      xml += "<Part><PartNumber>" + std::to_string(part.number) + "</PartNumber><ETag>" + part.tag +
             "</ETag></Part>";
    }
    xml += "</CompleteMultipartUpload>";
    ByteView const body[] = {as_bytes(xml)};
    Call const call{
        .method = "POST", .key = upload.key, .query = {{"uploadId", upload.id}}, .body = body};
    auto reply = exchange(ctx, call);
    auto const refusal = reply.ok() ? s3::parse_refusal(reply->head, reply->text) : std::nullopt;
    // Ceph takes an upload that was aborted for one that is being completed.
    if (refusal && refusal->status == 500 &&
        failed_with(send(ctx, {.method = "GET", .key = upload.key, .query = call.query}),
                    Errc::noent)) {
      return Errc::noent;
    }
    return checked(judged(call, std::move(reply)));
  }

  Result<void> abort_upload(Context const& ctx, Upload const& upload) override {
    auto reply =
        send(ctx, {.method = "DELETE", .key = upload.key, .query = {{"uploadId", upload.id}}});
    return failed_with(reply, Errc::noent) ? Result<void>() : checked(std::move(reply));
  }

 private:
  template <class Fn>
  auto on_pool(std::size_t size, Fn&& fn) -> std::invoke_result_t<Fn> {
    return size < kPoolBytesMin ? fn() : pool_.run(std::forward<Fn>(fn));
  }

  static Result<void> checked(Result<http::Reply>&& reply) {
    return reply.ok() ? Result<void>() : Result<void>(std::move(reply).error());
  }

  [[nodiscard]] std::string region() const {
    std::lock_guard const lock(mutex_);
    return region_;
  }

  [[nodiscard]] Error explained(Refusal const& refusal, std::string_view what) const {
    auto error = s3::error_of(refusal);
    return error.code() == Errc::noent
               ? std::move(error)
               : std::move(error).with(describe() + ": " + std::string(what));
  }

  [[nodiscard]] std::vector<http::Field> new_object_fields() const {
    std::vector<http::Field> fields{{"Content-Type", "application/octet-stream"}};
    if (!storage_class_.empty()) {
      fields.push_back({"x-amz-storage-class", storage_class_});
    }
    if (!place_.encryption.empty()) {
      fields.push_back({"x-amz-server-side-encryption", place_.encryption});
    }
    if (!place_.kms_key.empty()) {
      fields.push_back({"x-amz-server-side-encryption-aws-kms-key-id", place_.kms_key});
    }
    return fields;
  }

  /// A get of no bytes: only whether the range could be.
  Result<std::size_t> get_nothing(Context const& ctx, std::string_view key, std::uint64_t offset) {
    ZEST_TRY(auto const info, head(ctx, key));
    if (offset > 0 && offset >= info.size) {
      return Errc::inval;
    }
    return std::size_t{0};
  }

  /// Are these the bytes that were asked for?
  [[nodiscard]] Result<void> check_range(http::Head const& reply, std::uint64_t offset) const {
    auto const* const range = reply.find("Content-Range");
    bool const right =
        reply.status == 206
            ? range != nullptr && range->starts_with("bytes " + std::to_string(offset) + "-")
            : offset == 0;
    if (!right) {
      return Error(Errc::io, Fault::transient,
                   describe() + ": the server sent other bytes than the range asked for");
    }
    return {};
  }

  /// Checks the bytes against the object's own checksum, if they are all of it.
  Result<void> check_sum(http::Head const& reply, ByteView bytes) {
    auto const* const expected = reply.find(kChecksumField);
    auto const* const range = reply.find("Content-Range");
    bool const all = reply.status == 200 ||
                     (range != nullptr && range->ends_with("/" + std::to_string(bytes.size())));
    std::uint32_t sum = 0;
    if (!place_.checksum || expected == nullptr || !all ||
        std::from_chars(expected->data(), expected->data() + expected->size(), sum).ec !=
            std::errc{}) {
      return {};
    }
    auto const actual = on_pool(bytes.size(), [&] { return crc32c(bytes); });
    if (actual != sum) {
      return Error::corrupt("the object's checksum is " + std::to_string(actual) + " and not " +
                            std::to_string(sum));
    }
    return {};
  }

  Result<http::Reply> send(Context const& ctx, Call const& call) {
    return judged(call, exchange(ctx, call));
  }

  /// Turns every refusal into an error.
  [[nodiscard]] Result<http::Reply> judged(Call const& call, Result<http::Reply>&& reply) const {
    std::string what(call.method);
    what += call.key.empty() ? std::string() : " " + std::string(call.key);
    if (!reply.ok()) {
      auto& error = reply.error();
      bool const plain = error.code() == Errc::intr || error.code() == Errc::timedout;
      return plain ? std::move(error) : std::move(error).with(describe() + ": " + what);
    }
    if (auto const refusal = s3::parse_refusal(reply->head, reply->text)) {
      return explained(*refusal, what);
    }
    return std::move(reply);
  }

  /// One exchange, or two when the first one brought to light where the bucket is or that the
  /// credentials have expired.
  Result<http::Reply> exchange(Context const& ctx, Call const& call) {
    auto hash = std::string(s3::kUnsignedPayload);
    // What goes over TLS or with a checksum among the signed fields is not hashed as well.
    if (!place_.tls &&
        std::ranges::find(call.fields, kSumField, &http::Field::name) == call.fields.end()) {
      hash = on_pool(total_size(call.body), [&] { return s3::sha256_hex(call.body); });
    }
    for (bool again = false;; again = true) {
      auto const where = region();
      ZEST_TRY(auto const credentials, credentials_->get(ctx));
      auto const request = request_of(call, credentials, where, hash);
      ZEST_TRY(auto reply, client_.send(ctx, request));
      if (reply.head.status < 300 || again) {
        return reply;
      }
      auto const refusal = s3::parse_refusal(reply.head, reply.text);
      if (!refusal || !(moved(*refusal, where) || expired(*refusal))) {
        return reply;
      }
    }
  }

  http::Request request_of(Call const& call, s3::Credentials const& credentials,
                           std::string const& where, std::string const& hash) const {
    http::Request request{.method = call.method,
                          .url = place_.url(where),
                          .fields = call.fields,
                          .body = call.body,
                          .into = call.into,
                          .straight = call.straight,
                          .text_max = call.text_max};
    if (call.key.empty() && request.url.path.size() > 1) {
      request.url.path.pop_back();  // "/bucket": some servers take "/bucket/" for a key
    }
    request.url.path += http::percent_encode(call.key, true);
    request.url.query = s3::canonical_query(call.query);
    if (!credentials.access_key.empty()) {
      auto const now = Loop::on_fiber() ? Loop::current()->wall() : SystemClock().wall();
      s3::sign(request, credentials, {.region = where, .time = now, .payload = hash});
    }
    return request;
  }

  /// The bucket is elsewhere: later requests go there.
  bool moved(Refusal const& refusal, std::string const& from) {
    bool const elsewhere = refusal.status == 301 || refusal.status == 307 ||
                           refusal.code == "AuthorizationHeaderMalformed" ||
                           refusal.code == "IllegalLocationConstraintException" ||
                           (refusal.status == 400 && refusal.code.empty());
    if (!elsewhere || refusal.region == from || !is_region(refusal.region)) {
      return false;
    }
    std::lock_guard const lock(mutex_);
    region_ = refusal.region;
    return true;
  }

  bool expired(Refusal const& refusal) {
    return (refusal.code == "ExpiredToken" || refusal.code == "ExpiredTokenException") &&
           credentials_->expire();
  }

  s3::Place const place_;
  std::unique_ptr<s3::CredentialSource> const credentials_;
  std::string const storage_class_;
  BlockingPool& pool_;
  http::Client client_;
  mutable Mutex mutex_;
  std::string region_;  ///< guarded by mutex_
};

}  // namespace

std::unique_ptr<ObjectStore> make_s3_store(S3StoreOptions options, BlockingPool& pool) {
  return std::make_unique<S3Store>(std::move(options), pool);
}

}  // namespace zest
