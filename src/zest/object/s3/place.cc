#include "zest/object/s3/place.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

namespace zest::s3 {
namespace {

constexpr std::string_view kDefaultRegion = "us-east-1";
constexpr std::string_view kAws = ".amazonaws.com";

/// How a vendor's host names are built: BUCKET first, and which label tells the region.
struct Vendor {
  std::string_view scheme;
  std::size_t region_label = 0;  ///< counted from the bucket's; 0 = there is none
  std::size_t region_skip = 0;   ///< bytes before it in its label
  bool vhost = true;
};
constexpr std::array kVendors{
    Vendor{.scheme = "wasabi", .region_label = 2}, Vendor{.scheme = "scw", .region_label = 2},
    Vendor{.scheme = "space", .region_label = 1}, Vendor{.scheme = "eos", .vhost = false},
    Vendor{.scheme = "oos", .region_label = 1, .region_skip = 4, .vhost = false}};

Error bad_bucket(Place const& place, std::string_view why) {
  return {Errc::inval, Fault::semantic,
          "the bucket of a " + place.scheme + " storage cannot be used: " + std::string(why)};
}

std::string variable(http::Environment const& environment, char const* name) {
  char const* const found = environment(name);
  return found == nullptr ? "" : found;
}

/// JFS_S3_VHOST_STYLE switches the style of hosts that are not Amazon's.
bool default_path_style(http::Environment const& environment) {
  auto const value = variable(environment, "JFS_S3_VHOST_STYLE");
  return value.empty() || value == "0" || value == "false";
}

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> parts;
  for (;;) {
    auto const cut = text.find(by);
    parts.push_back(text.substr(0, cut));
    if (cut == std::string_view::npos) {
      return parts;
    }
    text.remove_prefix(cut + 1);
  }
}

/// "s3.eu-west-1.amazonaws.com", "s3-eu-west-1.…", "s3.dualstack.…", "s3.amazonaws.com".
std::string region_of_aws_host(std::string_view host) {
  if (host.starts_with("s3-") || host.starts_with("s3.")) {
    host.remove_prefix(3);
  }
  if (constexpr std::string_view kDual = "dualstack."; host.starts_with(kDual)) {
    host.remove_prefix(kDual.size());
  }
  auto const region = host.substr(0, host.find('.'));
  return std::string(host == kAws.substr(1) || region == "external-1" ? kDefaultRegion : region);
}

/// Vendors whose hosts name the region where only they know.
std::string region_of_compatible_host(std::string_view host) {
  constexpr std::string_view kOracle = ".compat.objectstorage.";
  constexpr std::string_view kOracleEnd = ".oraclecloud.com";
  constexpr std::string_view kOvhEnd = ".cloud.ovh.net";
  if (auto const at = host.find(kOracle);
      at != std::string_view::npos && host.ends_with(kOracleEnd)) {
    auto const begin = at + kOracle.size();
    return std::string(host.substr(begin, host.size() - kOracleEnd.size() - begin));
  }
  if (host.starts_with("s3.") && host.ends_with(kOvhEnd)) {
    host.remove_prefix(3);
    return std::string(host.substr(0, host.find('.')));
  }
  return {};
}

void set_compatible(Place& place, std::string_view host, http::Environment const& environment) {
  place.host = host;
  place.path_style = default_path_style(environment);
}

Result<void> parse_aws_host(Place& place, std::string_view host,
                            http::Environment const& environment) {
  if (host.ends_with(".vpce.amazonaws.com")) {
    auto const labels = split(host, '.');
    if (labels.size() < 6) {
      return bad_bucket(place, "a VPC endpoint looks like BUCKET.ID.s3.REGION.vpce.amazonaws.com");
    }
    place.bucket = labels.front();
    place.region = labels[labels.size() - 4];
    set_compatible(place, host.substr(labels.front().size() + 1), environment);
    return {};
  }
  auto const cut = host.find(".s3");
  if (cut == std::string_view::npos) {
    return bad_bucket(place, "it looks like BUCKET.s3.REGION.amazonaws.com");
  }
  place.aws = true;
  place.bucket = host.substr(0, cut);
  place.region = region_of_aws_host(host.substr(cut + 1));
  return {};
}

Result<void> parse_s3(Place& place, http::Url const& url, http::Environment const& environment) {
  std::string_view const host = url.host;
  bool const aws_host = host.find(kAws) != std::string_view::npos;
  if (url.path.size() > 1) {
    place.bucket = url.path.substr(1, url.path.find('/', 1) - 1);
    if (aws_host) {
      place.aws = true;
      place.region = region_of_aws_host(host);
    } else {
      set_compatible(place, host, environment);
    }
  } else if (auto const dot = host.find('.'); dot == std::string_view::npos) {
    place.aws = true;
    place.bucket = host;
  } else if (aws_host) {
    ZEST_CHECK(parse_aws_host(place, host, environment));
  } else {
    place.bucket = host.substr(0, dot);
    place.region = region_of_compatible_host(host.substr(dot + 1));
    set_compatible(place, host.substr(dot + 1), environment);
  }
  for (auto const* name : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    if (place.region.empty()) {
      place.region = variable(environment, name);
    }
  }
  return {};
}

Result<void> parse_minio(Place& place, http::Url const& url, http::Environment const& environment) {
  set_compatible(place, url.host, environment);
  std::string_view path = std::string_view(url.path).substr(1);
  if (constexpr std::string_view kFolder = "minio/"; path.starts_with(kFolder)) {
    path.remove_prefix(kFolder.size());
  }
  place.bucket = path.substr(0, path.find('/'));
  if (place.region.empty()) {
    place.region = variable(environment, "MINIO_REGION");
  }
  return {};
}

Result<void> parse_vendor(Place& place, http::Url const& url, Vendor const& vendor,
                          http::Environment const& environment) {
  auto const labels = split(url.host, '.');
  if (labels.size() < 3 || labels.size() <= vendor.region_label ||
      labels[vendor.region_label].size() < vendor.region_skip) {
    return bad_bucket(place, "it looks like https://BUCKET.HOST, where HOST names the region");
  }
  place.bucket = labels.front();
  set_compatible(place, std::string_view(url.host).substr(place.bucket.size() + 1), environment);
  if (vendor.vhost) {
    place.path_style = false;
  } else if (vendor.scheme == "oos") {
    place.path_style = url.host.find("xstore.ctyun.cn") == std::string::npos;
  }
  if (vendor.region_label > 0) {
    place.region = labels[vendor.region_label].substr(vendor.region_skip);
  }
  return {};
}

Result<void> parse_query(Place& place, std::string_view query) {
  for (auto const pair : split(query, '&')) {
    auto const cut = std::min(pair.find('='), pair.size());
    auto const name = pair.substr(0, cut);
    auto const value = http::percent_decode(pair.substr(std::min(cut + 1, pair.size())), true);
    if (!value) {
      return bad_bucket(place, "its query has a broken % escape");
    }
    if (name == "disable-checksum") {
      place.checksum = !http::same_name(*value, "true");
    } else if (name == "region" && place.scheme == "minio") {
      place.region = *value;
    } else if (name == "sse") {
      if (*value != "AES256" && *value != "aws:kms") {
        return bad_bucket(place, "sse is AES256 or aws:kms");
      }
      place.encryption = *value;
    } else if (name == "sse-kms-key-id") {
      place.kms_key = *value;
    }
  }
  return {};
}

/// What stands before "://" where nothing does.
std::string_view default_protocol(std::string_view scheme, std::string_view text) {
  if (scheme == "minio") {
    return "http://";
  }
  bool const plain = scheme == "s3" && text.find('.') != std::string_view::npos &&
                     text.find(kAws) == std::string_view::npos;
  return plain ? "http://" : "https://";
}

bool is_bucket_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == ':';
  });
}

}  // namespace

bool is_s3_scheme(std::string_view scheme) noexcept {
  return scheme == "s3" || scheme == "minio" ||
         std::ranges::find(kVendors, scheme, &Vendor::scheme) != kVendors.end();
}

http::Url Place::url(std::string_view of_region) const {
  http::Url url{.tls = tls, .host = host, .port = port, .path = "/", .query = {}, .user = {}};
  bool by_path = path_style;
  if (aws) {
    url.host = "s3." + std::string(of_region) + std::string(kAws) +
               (of_region.starts_with("cn-") ? ".cn" : "");
    // A certificate's wildcard covers one label only.
    by_path = bucket.find('.') != std::string::npos;
  }
  if (by_path) {
    url.path = "/" + http::percent_encode(bucket, false) + "/";
  } else {
    url.host = bucket + "." + url.host;
  }
  return url;
}

std::string Place::describe() const {
  auto where = aws ? std::string() : http::Url{.tls = tls, .host = host, .port = port}.authority();
  return scheme + "://" + (where.empty() ? "" : where + "/") + bucket + "/";
}

Result<Place> parse_place(std::string_view scheme, std::string const& bucket,
                          http::Environment const& environment) {
  Place place{.scheme = std::string(scheme)};
  auto text = bucket;
  if (text.find("://") == std::string::npos) {
    text.insert(0, default_protocol(scheme, text));
  }
  auto url = http::parse_url(text);
  if (!url.ok()) {
    return bad_bucket(place, url.error().text());
  }
  if (!url->user.empty()) {
    return bad_bucket(place, "credentials belong into --access-key and --secret-key");
  }
  place.tls = url->tls;
  place.port = url->port;
  ZEST_CHECK(parse_query(place, url->query));
  if (scheme == "s3") {
    ZEST_CHECK(parse_s3(place, *url, environment));
  } else if (scheme == "minio") {
    ZEST_CHECK(parse_minio(place, *url, environment));
  } else {
    auto const vendor = std::ranges::find(kVendors, scheme, &Vendor::scheme);
    ZEST_CHECK(parse_vendor(place, *url, *vendor, environment));
  }
  if (place.region.empty()) {
    place.region = kDefaultRegion;
  }
  if (!is_bucket_name(place.bucket)) {
    return bad_bucket(place, "it names no bucket; it looks like https://HOST/BUCKET");
  }
  return place;
}

}  // namespace zest::s3
