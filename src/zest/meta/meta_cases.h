// The engines that every test of operations runs on: usage in the commit or flushed, parents stored
// or derived, and one on which a third of the commits lose a race.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "zest/meta/testing.h"

namespace zest::meta::testing {

struct EngineCase {
  std::string name;
  bool usage_in_commit = false;
  bool parents_stored = false;
  std::uint32_t conflict_per_mille = 0;
};

class OnEngines : public ::testing::TestWithParam<EngineCase> {
 protected:
  std::unique_ptr<Engine> engine() {
    MemoryEngineOptions options;
    options.usage_in_commit = GetParam().usage_in_commit;
    options.parents_stored = GetParam().parents_stored;
    options.rng = &rng_;
    options.conflict_per_mille = GetParam().conflict_per_mille;
    return make_memory_engine(std::move(options));
  }

 private:
  Rng rng_{42};
};

inline auto engine_cases() {
  return ::testing::Values(
      EngineCase{.name = "Flushed"},
      EngineCase{.name = "InCommit", .usage_in_commit = true, .parents_stored = true},
      EngineCase{.name = "Conflicts", .parents_stored = true, .conflict_per_mille = 300});
}
inline std::string case_name(::testing::TestParamInfo<EngineCase> const& info) {
  return info.param.name;
}

/// The errno of a result, 0 for success.
template <class T>
int number(Result<T> const& result) {
  return result.ok() ? 0 : result.error().number();
}

/// The volume's usage as the engine has it after this client flushed.
inline Usage usage_of(Client& client) {
  EXPECT_TRUE(client.meta.flush_stats(Context{}).ok());
  auto const usage = client.meta.engine().read_usage(Context{});
  EXPECT_TRUE(usage.ok());
  return usage.ok() ? *usage : Usage{.space = -1, .inodes = -1};
}

/// The directory statistics as stored after this client flushed.
inline DirStat stat_of(Client& client, Ino dir) {
  EXPECT_TRUE(client.meta.flush_stats(Context{}).ok());
  Key const key = DirStatKey{dir};
  auto const found = client.meta.engine().fetch(Context{}, std::span(&key, 1));
  EXPECT_TRUE(found.ok());
  auto const* stat = found.ok() ? std::get_if<DirStat>(&found->front()) : nullptr;
  return stat == nullptr ? DirStat{.length = -1, .space = -1, .inodes = -1} : *stat;
}

}  // namespace zest::meta::testing
