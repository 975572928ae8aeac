#include "zest/object/s3/reply.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <pugixml.hpp>

namespace zest::s3 {
namespace {

constexpr std::size_t kQuotedMax = 300;  // bytes of a server's words in a message

/// For a message: printable, and not endless.
std::string quoted(std::string_view text) {
  std::string out(text.substr(0, kQuotedMax));
  std::ranges::replace_if(out, [](char c) { return c >= 0 && c < ' '; }, ' ');
  return out;
}

Error bad_list(std::string_view why) {
  return Error::transient(Errc::io, "the server's list cannot be: " + std::string(why));
}

bool load(pugi::xml_document& document, std::string_view xml) {
  return static_cast<bool>(document.load_buffer(xml.data(), xml.size()));
}

struct Meaning {
  std::string_view code;
  Errc errc;
  Fault fault;
  std::string_view advice;
};
constexpr std::array kMeanings{
    Meaning{"NoSuchKey", Errc::noent, Fault::semantic, ""},
    Meaning{"NoSuchUpload", Errc::noent, Fault::semantic, ""},
    Meaning{"NoSuchBucket", Errc::nxio, Fault::semantic,
            " (create the bucket, or correct its name)"},
    Meaning{"AccessDenied", Errc::acces, Fault::semantic,
            " (the keys lack a permission for this request)"},
    Meaning{"AllAccessDisabled", Errc::acces, Fault::semantic, ""},
    Meaning{"InvalidAccessKeyId", Errc::acces, Fault::semantic,
            " (the access key is unknown there)"},
    Meaning{"SignatureDoesNotMatch", Errc::acces, Fault::semantic,
            " (the secret key is wrong, or a proxy changes requests)"},
    Meaning{"InvalidToken", Errc::acces, Fault::semantic, " (the session token is wrong)"},
    Meaning{"ExpiredToken", Errc::acces, Fault::semantic, " (get a new session token)"},
    Meaning{"RequestTimeTooSkewed", Errc::acces, Fault::semantic,
            " (the clock of this machine or of the server is wrong)"},
    Meaning{"InvalidRange", Errc::inval, Fault::semantic, ""},
    Meaning{"EntityTooLarge", Errc::fbig, Fault::semantic, ""},
    Meaning{"QuotaExceeded", Errc::dquot, Fault::semantic, " (the quota of the bucket or user)"},
    Meaning{"XMinioStorageFull", Errc::nospc, Fault::semantic, " (the disks of the server)"},
    Meaning{"InsufficientStorage", Errc::nospc, Fault::semantic, " (the disks of the server)"},
    Meaning{"NotImplemented", Errc::notsup, Fault::semantic, ""},
    Meaning{"BadDigest", Errc::io, Fault::transient, " (the body changed on its way)"},
    Meaning{"XAmzContentSHA256Mismatch", Errc::io, Fault::transient,
            " (the body changed on its way)"},
    Meaning{"XAmzContentChecksumMismatch", Errc::io, Fault::transient,
            " (the body changed on its way)"},
    Meaning{"RequestTimeout", Errc::timedout, Fault::transient, ""},
    Meaning{"OperationAborted", Errc::again, Fault::transient, ""},
    Meaning{"SlowDown", Errc::again, Fault::transient, ""},
    Meaning{"SlowDownRead", Errc::again, Fault::transient, ""},
    Meaning{"SlowDownWrite", Errc::again, Fault::transient, ""},
};

Meaning meaning_of(Refusal const& refusal) {
  auto const* const known = std::ranges::find(kMeanings, refusal.code, &Meaning::code);
  if (known != kMeanings.end()) {
    return *known;
  }
  switch (refusal.status) {
    case 401:
    case 403: return {"", Errc::acces, Fault::semantic, ""};
    case 408:
    case 429: return {"", Errc::again, Fault::transient, ""};
    case 301:
    case 307: return {"", Errc::inval, Fault::semantic, " (the bucket is in another region)"};
    case 501: return {"", Errc::notsup, Fault::semantic, ""};
    case 507: return {"", Errc::nospc, Fault::semantic, ""};
    default: break;
  }
  if (refusal.status >= 400 && refusal.status < 500) {
    return {"", refusal.status == 400 ? Errc::inval : Errc::io, Fault::semantic, ""};
  }
  return {"", Errc::io, Fault::transient, ""};
}

/// Without a body (HEAD, or something between that answers) the status must do.
std::string_view code_of_status(int status) {
  switch (status) {
    case 404: return "NoSuchKey";
    case 403: return "AccessDenied";
    case 416: return "InvalidRange";
    case 503: return "SlowDown";
    default: return "";
  }
}

}  // namespace

std::optional<WallTime> parse_time(std::string_view text) {
  std::string const copy(text);
  std::tm parts{};
  WallTime time;
  auto const* rest = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (rest != nullptr) {
    if (*rest == '.') {
      std::uint32_t unit = 100'000'000;
      for (++rest; *rest >= '0' && *rest <= '9'; ++rest, unit /= 10) {
        time.nsec += static_cast<std::uint32_t>(*rest - '0') * unit;
      }
    }
    if (*rest != 'Z') {
      return std::nullopt;
    }
  } else if (::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &parts) == nullptr) {
    return std::nullopt;
  }
  time.sec = ::timegm(&parts);
  return time;
}

Result<ObjectPage> parse_list(std::string_view xml, ListObjects const& request) {
  pugi::xml_document document;
  auto const root = load(document, xml) ? document.child("ListBucketResult") : pugi::xml_node();
  if (!root) {
    return bad_list("it is no ListBucketResult");
  }
  bool const encoded = std::string_view(root.child_value("EncodingType")) == "url";
  ObjectPage page;
  for (auto const entry : root.children("Contents")) {
    ObjectInfo info{.key = entry.child_value("Key")};
    if (encoded) {
      auto plain = http::percent_decode(info.key, true);
      if (!plain) {
        return bad_list("a key is escaped wrongly");
      }
      info.key = *std::move(plain);
    }
    std::string_view const size = entry.child_value("Size");
    auto const [end, problem] = std::from_chars(size.data(), size.data() + size.size(), info.size);
    auto const mtime = parse_time(entry.child_value("LastModified"));
    if (problem != std::errc{} || end != size.data() + size.size() || !mtime) {
      return bad_list("an object has no size or no time");
    }
    info.mtime = *mtime;
    auto const& before = page.objects.empty() ? request.after : page.objects.back().key;
    if (info.key <= before && !(page.objects.empty() && request.after.empty())) {
      return bad_list("its keys don't ascend");
    }
    if (!info.key.starts_with(request.prefix) || page.objects.size() == request.limit) {
      return bad_list("it has more than was asked for");
    }
    page.objects.push_back(std::move(info));
  }
  page.more = std::string_view(root.child_value("IsTruncated")) == "true";
  if (page.more && page.objects.empty()) {
    return bad_list("it goes on after nothing");
  }
  return page;
}

std::string parse_element(std::string_view xml, std::string_view root, std::string_view name) {
  pugi::xml_document document;
  if (!load(document, xml)) {
    return {};
  }
  return document.child(std::string(root).c_str()).child_value(std::string(name).c_str());
}

std::optional<Refusal> parse_refusal(http::Head const& head, std::string_view body) {
  pugi::xml_document document;
  auto const error =
      !body.empty() && load(document, body) ? document.child("Error") : pugi::xml_node();
  bool const good = head.status >= 200 && head.status < 300;
  if (good && !error) {
    return std::nullopt;
  }
  Refusal refusal{.status = head.status,
                  .code = quoted(error.child_value("Code")),
                  .message = quoted(error.child_value("Message")),
                  .request_id = quoted(error.child_value("RequestId")),
                  .region = quoted(error.child_value("Region"))};
  if (refusal.code.empty() && body.empty()) {
    refusal.code = code_of_status(head.status);
  }
  if (auto const* const region = head.find("x-amz-bucket-region")) {
    refusal.region = quoted(*region);
  }
  if (auto const* const id = head.find("x-amz-request-id"); id != nullptr) {
    refusal.request_id = quoted(*id);
  }
  return refusal;
}

Error error_of(Refusal const& refusal) {
  auto const meaning = meaning_of(refusal);
  if (meaning.errc == Errc::noent) {
    return Errc::noent;
  }
  std::string text = refusal.code.empty() ? "refused" : refusal.code;
  if (!refusal.message.empty()) {
    text += ": " + refusal.message;
  }
  text += meaning.advice;
  text += " [status " + std::to_string(refusal.status);
  if (!refusal.request_id.empty()) {
    text += ", request id " + refusal.request_id;
  }
  text += "]";
  return {meaning.errc, meaning.fault, std::move(text)};
}

}  // namespace zest::s3
