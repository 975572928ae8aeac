// Where blocks live: a flat map from keys to immutable byte strings.
//
// Implementations (file/, mem/, later s3/…) hold no retry, limit or prefix logic; decorators add
// that and implement the interface completely. All calls may suspend; any loop; thread-safe.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/bytes.h"
#include "zest/base/clock.h"
#include "zest/base/context.h"
#include "zest/base/result.h"

namespace zest {

struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = std::numeric_limits<std::uint64_t>::max();  ///< up to the end
};

struct ObjectInfo {
  std::string key;
  std::uint64_t size = 0;
  WallTime mtime;
};

struct ListObjects {
  std::string prefix;
  std::string after;  ///< keys greater than this, bytewise
  std::size_t limit = 1000;
};
struct ObjectPage {
  std::vector<ObjectInfo> objects;  ///< ascending by key
  bool more = false;                ///< continue with after = last key
};

struct StoreCapabilities {
  bool durable_put = false;  ///< a put that returned survives a power cut (else see sync)
  bool ranged_get = true;
  bool near = false;  ///< a request costs microseconds: reading more than is asked for pays late
  bool copy = false;  ///< copy() works, without the bytes passing through this client
  bool multipart = false;            ///< create_upload() and what follows it work
  std::uint64_t part_bytes_min = 0;  ///< of every part of an upload but its last
  std::uint32_t parts_max = 0;       ///< parts are numbered from 1 to this
};

struct CopyObject {
  std::string_view from;
  std::string_view to;
};

/// A multipart upload under way: an object that comes into being when it is completed.
struct Upload {
  std::string key;
  std::string id;  ///< the store's name for it; no secret
};
/// A part that is stored; what complete_upload() wants to know of it.
struct UploadedPart {
  std::uint32_t number = 0;
  std::string tag;
};

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  [[nodiscard]] virtual StoreCapabilities const& capabilities() const noexcept = 0;
  /// For messages: scheme and place, never credentials. E.g. "file:///var/jfs/".
  [[nodiscard]] virtual std::string describe() const = 0;

  /// Makes the place exist (directory, bucket); fine when it does.
  virtual Result<void> create(Context const& ctx) = 0;
  /// Reads `range` of `key` into `out`; returns the number of bytes written, at most out.size().
  /// A missing key is ENOENT; a range that starts past the end is EINVAL.
  virtual Result<std::size_t> get(Context const& ctx, std::string_view key, ByteRange range,
                                  ByteSpan out) = 0;
  /// Stores the concatenation of `parts`, atomically: readers see the whole object or none.
  /// Replaces an older one.
  virtual Result<void> put(Context const& ctx, std::string_view key,
                           std::span<ByteView const> parts) = 0;
  /// Removes an object; a missing one is success.
  virtual Result<void> remove(Context const& ctx, std::string_view key) = 0;
  virtual Result<ObjectInfo> head(Context const& ctx, std::string_view key) = 0;
  virtual Result<ObjectPage> list(Context const& ctx, ListObjects const& request) = 0;
  /// Makes objects that were put before survive a power cut; nothing to do where
  /// capabilities().durable_put.
  virtual Result<void> sync(Context const& ctx, std::span<std::string const> keys) = 0;

  /// Makes `to` an object with the content of `from`, replacing an older one. A missing `from` is
  /// ENOENT; ENOTSUP unless capabilities().copy.
  virtual Result<void> copy(Context const& ctx, CopyObject const& request) = 0;

  // An object in several puts; ENOTSUP unless capabilities().multipart. Parts may be stored in any
  // order and at the same time. An upload lives, and may cost money, until it is completed or
  // aborted.

  virtual Result<Upload> create_upload(Context const& ctx, std::string_view key) = 0;
  /// Stores the concatenation of `parts` as part `number`, replacing an older one. An upload that
  /// does not exist (any more) is ENOENT.
  virtual Result<UploadedPart> upload_part(Context const& ctx, Upload const& upload,
                                           std::uint32_t number,
                                           std::span<ByteView const> parts) = 0;
  /// The object appears, atomically: the concatenation of `parts`, which ascend by number. EINVAL
  /// where they don't, or where one of them is unknown or too small.
  virtual Result<void> complete_upload(Context const& ctx, Upload const& upload,
                                       std::span<UploadedPart const> parts) = 0;
  /// Forgets the parts; success when the upload does not exist.
  virtual Result<void> abort_upload(Context const& ctx, Upload const& upload) = 0;
};

/// A base of stores that take an object in one put only.
class SinglePutStore : public ObjectStore {
 public:
  Result<Upload> create_upload(Context const&, std::string_view) final { return Errc::notsup; }
  Result<UploadedPart> upload_part(Context const&, Upload const&, std::uint32_t,
                                   std::span<ByteView const>) final {
    return Errc::notsup;
  }
  Result<void> complete_upload(Context const&, Upload const&, std::span<UploadedPart const>) final {
    return Errc::notsup;
  }
  Result<void> abort_upload(Context const&, Upload const&) final { return Errc::notsup; }
};

}  // namespace zest
