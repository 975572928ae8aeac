// Objects in a bucket of Amazon S3, MinIO, Ceph and whatever else speaks their protocol.
#pragma once

#include <memory>
#include <string>

#include "zest/object/s3/credentials.h"
#include "zest/object/s3/place.h"
#include "zest/object/store.h"
#include "zest/runtime/http/client.h"
#include "zest/runtime/pool.h"

namespace zest {

struct S3StoreOptions {
  s3::Place place;
  std::unique_ptr<s3::CredentialSource> credentials;
  std::string storage_class;  ///< of new objects; empty = the bucket's own
  http::ClientOptions client;
};

/// Makes a store over the bucket; connects to nothing yet. `pool` computes checksums of large
/// bodies and outlives the store.
///
/// Requests are signed with version 4; the signature covers the body where there is no TLS. Every
/// put carries the body's CRC-32C, for the server to check and for readers: a whole object that
/// comes back with another one is a corrupt error. Nothing is tried twice, but that a request goes
/// to the region that the server named, or again with new credentials when they were refused as
/// expired. Errors say what the server said: its code, its words, the request's id.
std::unique_ptr<ObjectStore> make_s3_store(S3StoreOptions options, BlockingPool& pool);

}  // namespace zest
