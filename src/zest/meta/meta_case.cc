// The facade: names of case-insensitive mounts.
#include "zest/meta/case_fold.h"
#include "zest/meta/meta_impl.h"

namespace zest::meta {
namespace {

constexpr std::size_t kPage = 4096;

}  // namespace

// The entry of exactly this name wins; else the first of the directory that differs in case only. A
// scan, as the volume has no index for it.
Result<void> Meta::Impl::resolve_case(Context const& ctx, Ino dir, RealName& name) {
  auto const special = name.text.empty() || name.text == "." || name.text == "..";
  if (!config.case_insensitive || special || name.text.size() > kNameMax) {
    return {};
  }
  EdgeKey const exact{dir, std::string(name.text)};
  ZEST_TRY(auto const found, runner.run(ctx, [&](Txn& txn) { return txn.get(exact); }));
  if (found.has_value()) {
    return {};
  }
  ListDir list{.dir = dir, .from = {}, .limit = kPage, .attrs = false};
  do {
    ZEST_TRY(auto page, engine.list_dir(ctx, list));
    for (auto& entry : page.entries) {
      if (equal_fold(entry.name, name.text)) {
        name.storage = std::move(entry.name);
        name.text = name.storage;
        return {};
      }
    }
    list.from = std::move(page.next);
  } while (!list.from.empty());
  return {};
}

}  // namespace zest::meta
