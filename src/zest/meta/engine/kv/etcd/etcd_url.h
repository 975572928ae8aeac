// etcd://[user:password@]host[:2379][,host…]/PREFIX[?cacert=…&cert=…&key=…&server-name=…]
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "zest/base/result.h"

namespace zest::meta {

struct EtcdEndpoint {
  std::string host;
  std::uint16_t port = 2379;
  friend bool operator==(EtcdEndpoint const&, EtcdEndpoint const&) = default;
};

/// Files in PEM format; empty where the URL names none.
struct EtcdTls {
  std::string ca_file;
  std::string cert_file;
  std::string key_file;
  std::string server_name;
  bool skip_verify = false;
  /// As with the peer, skip_verify alone does not switch TLS on.
  [[nodiscard]] bool enabled() const noexcept {
    return !ca_file.empty() || !cert_file.empty() || !key_file.empty() || !server_name.empty();
  }
};

struct EtcdUrl {
  std::vector<EtcdEndpoint> endpoints;
  std::string user;
  std::string password;
  /// With its leading slash, as the format keeps it; may be empty.
  std::string path;
  EtcdTls tls;
  /// Options that have no meaning here, for a warning.
  std::vector<std::string> ignored;
};

/// Percent-encoding is decoded in user, password, path and option values. EINVAL with a message for
/// people that names no secret.
Result<EtcdUrl> parse_etcd_url(std::string_view url);

}  // namespace zest::meta
