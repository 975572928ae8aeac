// Raw entries on an io_uring loop.
#include "zest/runtime/uring_port.h"

#include <gtest/gtest.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <vector>

#include "zest/runtime/loop_cases.h"
#include "zest/runtime/socket.h"

namespace zest {
namespace {

class UringPortTest : public LoopCase {};
INSTANTIATE_TEST_SUITE_P(Loops, UringPortTest, ::testing::Values(Backend::uring), backend_name);

TEST(UringPort, OtherLoopsHaveNone) {
  testing::run_on_loop([] { EXPECT_EQ(UringPort::of(*Loop::current()), nullptr); },
                       LoopKind::epoll);
  testing::run_simulated([] { EXPECT_EQ(UringPort::of(*Loop::current()), nullptr); });
}

/// Counts completions and sets an event with the last.
struct Counting : UringPort::Completion {
  explicit Counting(int expected) : left(expected) {
    on_complete = [](UringPort::Completion& self, std::int32_t result, std::uint32_t /*flags*/) {
      auto& mine = static_cast<Counting&>(self);
      mine.sum += result;
      if (--mine.left == 0) {
        mine.done.set();
      }
    };
  }
  int left;
  std::int64_t sum = 0;
  Event done;
};

TEST_P(UringPortTest, EntriesAreZeroedAndCompleteOnTheLoop) {
  run([] {
    auto* const port = UringPort::of(*Loop::current());
    ASSERT_NE(port, nullptr);
    Counting counting(1);
    auto* const entry = port->prepare(counting);
    ASSERT_NE(entry, nullptr);
    std::array<char, 128> zero{};
    // All 128 bytes but the user data, which lies at 32.
    EXPECT_EQ(std::memcmp(entry, zero.data(), 32), 0);
    EXPECT_EQ(std::memcmp(reinterpret_cast<char*>(entry) + 40, zero.data(), 88), 0);
    EXPECT_EQ(entry->user_data, reinterpret_cast<std::uintptr_t>(&counting));
    entry->opcode = IORING_OP_NOP;
    counting.done.wait();
    EXPECT_EQ(counting.sum, 0);
  });
}

TEST_P(UringPortTest, MoreEntriesThanTheRingHoldsAreSubmittedOnTheWay) {
  run([] {
    auto* const port = UringPort::of(*Loop::current());
    Counting counting(5000);
    for (int i = 0; i < 5000; ++i) {
      auto* const entry = port->prepare(counting);
      ASSERT_NE(entry, nullptr);
      entry->opcode = IORING_OP_NOP;
    }
    counting.done.wait();
    EXPECT_EQ(counting.left, 0);
  });
}

TEST_P(UringPortTest, RegisteredDescriptorsWorkUntilTheTableIsFull) {
  run([] {
    auto* const port = UringPort::of(*Loop::current());
    UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    std::vector<int> slots;
    int slot = port->register_fd(event.get());
    for (; slot >= 0; slot = port->register_fd(event.get())) {
      slots.push_back(slot);
      ASSERT_LT(slots.size(), 100'000U);
    }
    EXPECT_EQ(slot, -ENFILE);
    EXPECT_GE(slots.size(), 16U);
    std::uint64_t const two = 2;
    Counting counting(1);
    auto* const entry = port->prepare(counting);
    ASSERT_NE(entry, nullptr);
    entry->opcode = IORING_OP_WRITE;
    entry->flags = IOSQE_FIXED_FILE;
    entry->fd = slots.back();
    entry->addr = reinterpret_cast<std::uintptr_t>(&two);
    entry->len = sizeof two;
    counting.done.wait();
    EXPECT_EQ(counting.sum, 8);
    std::uint64_t value = 0;
    EXPECT_EQ(::read(event.get(), &value, sizeof value), 8);
    EXPECT_EQ(value, 2U);
    for (int const each : slots) {
      port->unregister_fd(each);
    }
    EXPECT_LT(port->register_fd(-7), 0);
    int const again = port->register_fd(event.get());
    EXPECT_GE(again, 0);
    port->unregister_fd(again);
  });
}

TEST_P(UringPortTest, ThousandsOfPollsOutgrowTheRing) {
  // More waits than the ring has entries, all given up at once, then all served.
  run([] {
#if defined(__SANITIZE_THREAD__)
    constexpr int kWaits = 600;
#else
    constexpr int kWaits = 2000;
#endif
    UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    constexpr PollEvents kReadable{.readable = true, .writable = false};
    for (bool const serve : {false, true}) {
      Scope scope;
      int timed_out = 0;
      int served = 0;
      for (int i = 0; i < kWaits; ++i) {
        scope.spawn([&] {
          auto const ctx = within(serve ? std::chrono::seconds(60) : std::chrono::milliseconds(5));
          auto const got = Loop::current()->wait_fd(ctx, event.get(), kReadable);
          served += got.ok() ? 1 : 0;
          timed_out += failed_with(got, Errc::timedout) ? 1 : 0;
        });
      }
      Loop::current()->yield();
      if (serve) {
        std::uint64_t const one = 1;
        EXPECT_EQ(::write(event.get(), &one, sizeof one), 8);
      }
      scope.join();
      EXPECT_EQ(serve ? served : timed_out, static_cast<int>(kWaits));
    }
  });
}

}  // namespace
}  // namespace zest
