#include "zest/object/s3/credentials.h"

#include <array>
#include <charconv>
#include <fstream>
#include <mutex>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "zest/object/s3/reply.h"
#include "zest/runtime/loop.h"
#include "zest/runtime/sync.h"

namespace zest::s3 {
namespace {

constexpr std::int64_t kRenewBefore_s = 300;
constexpr std::size_t kFileBytesMax = 1u << 20;
constexpr std::size_t kAnswerBytesMax = 65536;
constexpr std::string_view kInstanceService = "http://169.254.169.254";
constexpr std::string_view kContainerService = "http://169.254.170.2";

WallTime wall_now() {
  return Loop::on_fiber() ? Loop::current()->wall() : SystemClock().wall();
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  auto const begin = std::min(text.find_first_not_of(kBlank), text.size());
  text.remove_prefix(begin);
  return text.substr(0, text.find_last_not_of(kBlank) + 1);
}

class Fixed final : public CredentialSource {
 public:
  explicit Fixed(Credentials credentials) : credentials_(std::move(credentials)) {}
  Result<Credentials> get(Context const&) override { return credentials_; }
  bool expire() override { return false; }

 private:
  Credentials const credentials_;
};

class Chain final : public CredentialSource {
 public:
  Chain(http::Environment environment, BlockingPool& pool)
      : environment_(std::move(environment)), pool_(pool), client_(service_options()) {}

  Result<Credentials> get(Context const& ctx) override {
    ZEST_CHECK(mutex_.lock(ctx));
    std::unique_lock const held(mutex_, std::adopt_lock);
    bool const lasts =
        lease_.expires.sec == 0 || lease_.expires.sec > wall_now().sec + kRenewBefore_s;
    if (!lease_.credentials.access_key.empty() && lasts && !expired_) {
      return lease_.credentials;
    }
    auto found = find(ctx);
    if (!found.ok()) {
      // Those at hand may do for some minutes more.
      if (!expired_ && lease_.expires.sec > wall_now().sec) {
        return lease_.credentials;
      }
      return std::move(found).error();
    }
    lease_ = *std::move(found);
    expired_ = false;
    return lease_.credentials;
  }

  bool expire() override {
    expired_ = true;
    return true;
  }

 private:
  static http::ClientOptions service_options() {
    // A machine without such a service has no such address, or a router that drops the packets.
    return {.connections_max = 1,
            .timeouts = {.connect = std::chrono::seconds(1),
                         .first_byte = std::chrono::seconds(5),
                         .idle = std::chrono::seconds(5)}};
  }

  std::string variable(char const* name) const {
    char const* const found = environment_(name);
    return found == nullptr ? "" : found;
  }

  Result<Lease> find(Context const& ctx) {
    if (auto found = of_environment(); !found.access_key.empty()) {
      return Lease{.credentials = std::move(found), .expires = {}};
    }
    if (auto found = pool_.run([&] { return of_files(); }); !found.access_key.empty()) {
      return Lease{.credentials = std::move(found), .expires = {}};
    }
    auto const relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    auto const full = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (!relative.empty() || !full.empty()) {
      auto lease =
          of_container(ctx, relative.empty() ? full : std::string(kContainerService) + relative);
      return lease.ok() ? std::move(lease)
                        : std::move(lease).error().with("credentials of the container's role");
    }
    if (!http::same_name(variable("AWS_EC2_METADATA_DISABLED"), "true")) {
      if (auto lease = of_instance(ctx); lease.ok() || ctx.stop.stop_requested()) {
        return lease;
      }
    }
    return Error(Errc::acces, Fault::semantic,
                 "no credentials: give --access-key and --secret-key, or AWS_ACCESS_KEY_ID and "
                 "AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws/credentials; no role of a "
                 "container or an instance was found either");
  }

  Credentials of_environment() const {
    Credentials found{.access_key = variable("AWS_ACCESS_KEY_ID"),
                      .secret_key = variable("AWS_SECRET_ACCESS_KEY"),
                      .session_token = variable("AWS_SESSION_TOKEN")};
    return found.secret_key.empty() ? Credentials{} : found;
  }

  /// Blocks.
  Credentials of_files() const {
    auto profile = variable("AWS_PROFILE");
    profile = profile.empty() ? "default" : profile;
    auto const home = variable("HOME");
    for (auto const& [name, standard] :
         {std::pair("AWS_SHARED_CREDENTIALS_FILE", "/.aws/credentials"),
          std::pair("AWS_CONFIG_FILE", "/.aws/config")}) {
      auto path = variable(name);
      path = path.empty() ? home + standard : path;
      std::string text(kFileBytesMax, '\0');
      std::ifstream file(path, std::ios::binary);
      file.read(text.data(), static_cast<std::streamsize>(text.size()));
      text.resize(static_cast<std::size_t>(file.gcount()));
      if (auto found = parse_profile(text, profile); !found.access_key.empty()) {
        return found;
      }
    }
    return {};
  }

  Result<std::string> ask(Context const& ctx, std::string_view method, std::string const& url_text,
                          http::Field field) {
    ZEST_TRY(auto url, http::parse_url(url_text));
    http::Request request{.method = method, .url = std::move(url), .text_max = kAnswerBytesMax};
    if (!field.value.empty()) {
      request.fields.push_back(std::move(field));
    }
    ZEST_TRY(auto reply, client_.send(ctx, request));
    if (reply.head.status != 200) {
      return Error(Errc::acces, reply.head.status >= 500 ? Fault::transient : Fault::semantic,
                   "the service of roles answers with status " + std::to_string(reply.head.status));
    }
    return std::move(reply.text);
  }

  Result<Lease> of_container(Context const& ctx, std::string const& url) {
    auto token = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if (auto const path = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"); !path.empty()) {
      token = pool_.run([&] {
        std::ifstream file(path);
        std::string line;
        std::getline(file, line);
        return line;
      });
    }
    ZEST_TRY(auto const json, ask(ctx, "GET", url, {"Authorization", token}));
    return parse_lease(json);
  }

  Result<Lease> of_instance(Context const& ctx) {
    auto base = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    base = base.empty() ? std::string(kInstanceService) : base;
    if (base.ends_with('/')) {
      base.pop_back();
    }
    ZEST_TRY(auto token, ask(ctx, "PUT", base + "/latest/api/token",
                             {"X-aws-ec2-metadata-token-ttl-seconds", "21600"}));
    http::Field const proof{"X-aws-ec2-metadata-token", std::move(token)};
    auto const folder = base + "/latest/meta-data/iam/security-credentials/";
    ZEST_TRY(auto const roles, ask(ctx, "GET", folder, proof));
    auto const role = std::string(trimmed(std::string_view(roles).substr(0, roles.find('\n'))));
    ZEST_TRY(auto const json, ask(ctx, "GET", folder + http::percent_encode(role, false), proof));
    return parse_lease(json);
  }

  http::Environment const environment_;
  BlockingPool& pool_;
  http::Client client_;
  FiberMutex mutex_;
  Lease lease_;  ///< guarded by mutex_
  std::atomic<bool> expired_{false};
};

}  // namespace

Credentials parse_profile(std::string_view text, std::string_view profile) {
  Credentials found;
  bool inside = false;
  while (!text.empty()) {
    auto const end = std::min(text.find('\n'), text.size());
    auto const line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#' || line.front() == ';') {
      continue;
    }
    if (line.front() == '[') {
      auto name = trimmed(line.substr(1, line.find(']') - 1));
      if (constexpr std::string_view kWord = "profile "; name.starts_with(kWord)) {
        name = trimmed(name.substr(kWord.size()));
      }
      inside = name == profile;
      continue;
    }
    auto const cut = line.find('=');
    if (!inside || cut == std::string_view::npos) {
      continue;
    }
    auto const name = trimmed(line.substr(0, cut));
    std::string const value(trimmed(line.substr(cut + 1)));
    if (name == "aws_access_key_id") {
      found.access_key = value;
    } else if (name == "aws_secret_access_key") {
      found.secret_key = value;
    } else if (name == "aws_session_token") {
      found.session_token = value;
    }
  }
  return found.secret_key.empty() ? Credentials{} : found;
}

Result<Lease> parse_lease(std::string_view json) {
  auto const document = nlohmann::json::parse(json, nullptr, false);
  auto const text = [&](char const* name) -> std::string {
    if (!document.is_object()) {
      return {};
    }
    auto const found = document.find(name);
    return found != document.end() && found->is_string() ? found->get<std::string>() : "";
  };
  Lease lease{.credentials = {.access_key = text("AccessKeyId"),
                              .secret_key = text("SecretAccessKey"),
                              .session_token = text("Token")},
              .expires = {}};
  auto const expires = parse_time(text("Expiration"));
  if (lease.credentials.access_key.empty() || lease.credentials.secret_key.empty() || !expires) {
    return Error::transient(Errc::io, "the service of roles answers without keys");
  }
  lease.expires = *expires;
  return lease;
}

std::unique_ptr<CredentialSource> fixed_credentials(Credentials credentials) {
  if (credentials.access_key == "anonymous") {
    credentials = {};
  }
  return std::make_unique<Fixed>(std::move(credentials));
}

std::unique_ptr<CredentialSource> default_credentials(http::Environment environment,
                                                      BlockingPool& pool) {
  return std::make_unique<Chain>(std::move(environment), pool);
}

}  // namespace zest::s3
