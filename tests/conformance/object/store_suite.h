// The conformance suite of object stores: what a test is given, and how a store registers.
//
// A new store adds its StoreCase to store_cases() in stores.cc; a case that needs a server is left
// out when there is none.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/metrics.h"
#include "zest/object/store.h"
#include "zest/object/testing/expect.h"
#include "zest/runtime/pool.h"
#include "zest/runtime/testing.h"

namespace zest::testing {

/// One empty store for one test, and what it stands on.
class StoreFixture {
 public:
  virtual ~StoreFixture() = default;
  virtual ObjectStore& store() = 0;

  Registry metrics;
  BlockingPool pool{{.name = "object", .threads = 4, .queue_max = 64}, metrics};
  Context ctx;
};

struct StoreCase {
  std::string name;
  std::function<std::unique_ptr<StoreFixture>()> make;
};
inline void PrintTo(StoreCase const& store_case, std::ostream* out) {
  *out << store_case.name;
}

/// All stores that can be tested here.
std::vector<StoreCase> store_cases();

/// Runs each test on a loop with an empty store.
class StoreTest : public ::testing::TestWithParam<StoreCase> {
 protected:
  void with_store(std::function<void(StoreFixture&)> const& test) {
    run_on_loop([&] {
      auto const fixture = GetParam().make();
      ASSERT_OK(fixture->store().create(fixture->ctx));
      test(*fixture);
    });
  }
};

}  // namespace zest::testing
