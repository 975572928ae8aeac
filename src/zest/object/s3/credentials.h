// Where the keys of an S3 store come from. Internal to s3/.
#pragma once

#include <memory>
#include <string>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/object/s3/sign.h"
#include "zest/runtime/pool.h"

namespace zest::s3 {

/// The keys of a profile in the text of a credentials or config file ("[name]" or
/// "[profile name]"); without an access key when they aren't there.
Credentials parse_profile(std::string_view text, std::string_view profile);

/// Temporary keys, and when they end.
struct Lease {
  Credentials credentials;
  WallTime expires;
};
/// What a container's or an instance's role service answers (JSON). EIO when it is something else;
/// never quotes it.
Result<Lease> parse_lease(std::string_view json);

class CredentialSource {
 public:
  virtual ~CredentialSource() = default;
  /// The keys to sign with now; may ask a role service when those at hand end soon. Any loop; may
  /// suspend. EACCES when there are none: the message lists where they were looked for.
  virtual Result<Credentials> get(Context const& ctx) = 0;
  /// The store refused them as expired. False when there can be no others.
  virtual bool expire() = 0;
};

/// Given keys. "anonymous" as the access key: requests go unsigned.
std::unique_ptr<CredentialSource> fixed_credentials(Credentials credentials);

/// The first of: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the profile AWS_PROFILE in
/// ~/.aws/credentials, then in ~/.aws/config; the role of the container; the role of the instance
/// (IMDSv2, unless AWS_EC2_METADATA_DISABLED). Temporary ones are renewed five minutes before they
/// end. `pool` reads the files and outlives the source.
std::unique_ptr<CredentialSource> default_credentials(http::Environment environment,
                                                      BlockingPool& pool);

}  // namespace zest::s3
