#include "zest/meta/engine/kv/kv_transactions.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "zest/runtime/loop.h"

namespace zest::meta::kv {

namespace {

/// Reads of one body: each may name records that only the last one told of (an entry's node). More
/// than a few mean a body that asks for something new each time.
constexpr int kReadsMax = 8;

// Repetitions are immediate, because a refusal brings fresh records, which a pause would let grow
// old. After some, every other one waits for a random time below this, so that many clients do not
// hammer on one record; the one after it has fresh records again.
constexpr unsigned kImmediate = 8;
constexpr std::uint64_t kPauseUsMax = 5'000;

void add(Read& sum, Read const& part) {
  for (auto const& key : part.keys) {
    if (std::ranges::find(sum.keys, key) == sum.keys.end()) {
      sum.keys.push_back(key);
    }
  }
  for (auto const& range : part.ranges) {
    if (std::ranges::find(sum.ranges, range) == sum.ranges.end()) {
      sum.ranges.push_back(range);
    }
  }
}

}  // namespace

/// One body and who waits for it. Shared, because the one who completes it may be on another thread
/// and still inside of set() when the waiter goes on.
struct Transactions::Waiting {
  Waiting(Context const& context, TransactionRequest const& r)
      : body(r.body), ctx(context), weight(r.weight) {}

  Body const& body;  ///< valid until there is a result
  Context const& ctx;
  std::size_t weight;
  std::optional<Result<void>> result;
  bool postponed = false;  ///< for the next transaction
  Event done;

  [[nodiscard]] bool open() const noexcept { return !result && !postponed; }
};

struct Transactions::Batch {
  explicit Batch(Cache* cache) : base(cache) {}

  std::vector<std::shared_ptr<Waiting>> members;
  Base base;
  // Of the evaluation under way:
  std::vector<Waiting*> included;
  Overlay writes;
  Dependencies dependencies;
  Read missing;

  void fail_open(Error const& error) {
    for (auto const& member : members) {
      if (member->open()) {
        member->result.emplace(error.clone());
      }
    }
  }
};

Transactions::Transactions(Store& store, Cache& cache, Rng& rng, Registry& metrics)
    : store_(store),
      cache_(cache),
      rng_(rng),
      conflicts_(metrics.counter("meta_kv_conflicts",
                                 "Transactions that another client's write refused.")) {}

Transactions::~Transactions() = default;

Result<void> Transactions::run(Context const& ctx, TransactionRequest const& request) {
  if (ctx.stop.stop_requested()) {
    return Errc::intr;
  }
  auto const own = std::make_shared<Waiting>(ctx, request);
  if (request.lane == 0 || !Loop::on_fiber()) {
    Batch batch(&cache_);
    batch.members.push_back(own);
    process(ctx, batch);
    return *std::move(own->result);
  }
  auto& lane = lanes_[(request.lane * 0x9E3779B97F4A7C15ULL >> 32U) % kLanes];
  ZEST_CHECK(queue_up(ctx, lane, own));
  if (!own->result) {
    lead(lane, own);
  }
  return *std::move(own->result);
}

/// Returns as the lane's leader, or with a result; or fails, and nothing happened.
Result<void> Transactions::queue_up(Context const& ctx, Lane& lane,
                                    std::shared_ptr<Waiting> const& own) {
  {
    std::lock_guard const lock(lane.mutex);
    if (!lane.busy) {
      lane.busy = true;
      return {};
    }
    lane.queue.push_back(own);
  }
  auto const waited = own->done.wait(ctx);
  if (waited.ok()) {
    return {};
  }
  {
    std::lock_guard const lock(lane.mutex);
    if (std::erase(lane.queue, own) != 0) {
      // ETIMEDOUT would say that nobody knows what happened.
      return waited.error().code() == Errc::intr
                 ? Error(Errc::intr)
                 : Error::transient(Errc::io, "the deadline passed before the commit was sent");
    }
  }
  own->done.wait();  // Somebody has taken it along: soon over.
  return {};
}

void Transactions::lead(Lane& lane, std::shared_ptr<Waiting> const& own) {
  Batch batch(&cache_);
  batch.members = gather(lane, own);
  if (batch.members.size() == 1) {
    process(own->ctx, batch);
  } else {
    // One member's stop must not end the others' commit.
    Context shared;
    shared.deadline = TimePoint::min();
    for (auto const& member : batch.members) {
      shared.deadline = std::max(shared.deadline, member->ctx.deadline);
    }
    process(shared, batch);
  }
  std::shared_ptr<Waiting> next;
  {
    std::lock_guard const lock(lane.mutex);
    for (auto it = batch.members.rbegin(); it != batch.members.rend(); ++it) {
      if (!(*it)->result) {
        (*it)->postponed = false;
        lane.queue.push_front(*it);
      }
    }
    if (lane.queue.empty()) {
      lane.busy = false;
    } else {
      next = lane.queue.front();
      lane.queue.pop_front();
    }
  }
  for (auto const& member : batch.members) {
    if (member != own && member->result) {
      member->done.set();
    }
  }
  if (next) {
    next->done.set();
  }
}

std::vector<std::shared_ptr<Transactions::Waiting>> Transactions::gather(
    Lane& lane, std::shared_ptr<Waiting> const& own) {
  std::vector members{own};
  auto weight = own->weight;
  std::lock_guard const lock(lane.mutex);
  while (!lane.queue.empty() &&
         weight + lane.queue.front()->weight <= store_.capabilities().operations_max) {
    weight += lane.queue.front()->weight;
    members.push_back(std::move(lane.queue.front()));
    lane.queue.pop_front();
  }
  return members;
}

void Transactions::process(Context const& ctx, Batch& batch) {
  int reads = 0;
  for (unsigned attempt = 0; attempt < kAttemptsMax;) {
    evaluate(batch);
    if (!batch.missing.empty()) {
      if (++reads > kReadsMax + static_cast<int>(attempt)) {
        break;
      }
      auto reply = store_.read(ctx, batch.missing);
      if (!reply.ok()) {
        batch.fail_open(reply.error());
        return;
      }
      batch.base.learn(batch.missing, *std::move(reply));
      continue;
    }
    if (batch.included.empty()) {
      return;
    }
    Transaction transaction{.compares = compares(batch.base, batch.dependencies),
                            .writes = batch.writes.writes(),
                            .otherwise = batch.dependencies.read()};
    if (transaction.compares.empty() && transaction.writes.empty()) {
      applied(batch, 0);
      return;
    }
    auto const parts = transaction.otherwise.keys.size() + transaction.otherwise.ranges.size();
    auto const separate_read = parts > store_.capabilities().operations_max;
    auto again = separate_read ? std::exchange(transaction.otherwise, {}) : transaction.otherwise;
    auto reply = store_.commit(ctx, transaction);
    if (reply.ok() && reply->applied) {
      applied(batch, reply->revision);
      return;
    }
    if (reply.ok() && separate_read) {
      auto current = store_.read(ctx, again);
      if (current.ok()) {
        reply->current = *std::move(current);
      } else {
        reply = std::move(current).error();
      }
    }
    if (!reply.ok()) {
      batch.fail_open(reply.error());
      return;
    }
    batch.base.learn(again, std::move(reply->current));
    conflicts_.add();
    if (auto paused = pause(ctx, attempt++); !paused.ok()) {
      batch.fail_open(paused.error());
      return;
    }
  }
  batch.fail_open(Error(Errc::again, Fault::conflict, "records that are changed all the time"));
}

/// Runs every open body on what is known; some get their verdict, the others are included or miss
/// something.
void Transactions::evaluate(Batch& batch) {
  batch.included.clear();
  batch.writes = {};
  batch.dependencies = {};
  batch.missing = {};
  for (auto const& member : batch.members) {
    if (!member->open()) {
      continue;
    }
    View view(batch.base, &batch.writes);
    auto verdict = member->body(view);
    if (!view.missing().empty()) {
      add(batch.missing, view.missing());
    } else if (view.postponed()) {
      member->postponed = true;
    } else if (!verdict.ok() && view.unsure()) {
      add(batch.missing, view.dependencies().read());
    } else if (!verdict.ok()) {
      member->result.emplace(std::move(verdict));
    } else if (!batch.included.empty() && !fits(batch, view)) {
      member->postponed = true;
    } else {
      batch.dependencies.merge(view.dependencies());
      batch.writes.merge(std::move(view.own()));
      batch.included.push_back(member.get());
    }
  }
}

/// True when the transaction stays small enough for every server with the view's part.
bool Transactions::fits(Batch& batch, View& view) {
  auto const& limits = store_.capabilities();
  auto dependencies = batch.dependencies;
  dependencies.merge(view.dependencies());
  auto writes = batch.writes;
  writes.merge(view.own());
  return compares(batch.base, dependencies).size() <= limits.operations_max &&
         writes.writes().size() <= limits.writes_max;
}

void Transactions::applied(Batch& batch, Revision revision) {
  for (auto const& [key, value] : batch.writes.keys()) {
    cache_.store(key, {.value = value, .revision = value ? revision : 0});
  }
  for (auto* member : batch.included) {
    member->result.emplace();
  }
}

Result<void> Transactions::pause(Context const& ctx, unsigned attempt) {
  auto* const loop = Loop::current();
  if (attempt < kImmediate || attempt % 2 == 1 || loop == nullptr || !Loop::on_fiber()) {
    return {};
  }
  auto slept = loop->sleep_for(ctx, std::chrono::microseconds(rng_.below(kPauseUsMax) + 1));
  if (!slept.ok() && slept.error().code() == Errc::timedout) {
    // The last transaction was refused: nothing has happened.
    return Error(Errc::again, Fault::conflict, "conflicts until the deadline");
  }
  return slept;
}

Result<void> Transactions::read(Context const& ctx, Body const& body) {
  Base base(nullptr);
  Revision at = 0;
  for (int reads = 0; reads <= kReadsMax; ++reads) {
    View view(base, nullptr);
    auto verdict = body(view);
    if (view.missing().empty()) {
      return verdict;
    }
    auto missing = view.missing();
    missing.at = at;
    ZEST_TRY(auto reply, store_.read(ctx, missing));
    at = reply.revision;
    for (std::size_t i = 0; i < missing.keys.size(); ++i) {
      cache_.store(missing.keys[i], reply.values[i]);
    }
    base.learn(missing, std::move(reply));
  }
  return Error(Errc::io, Fault::bug, "a read that never ends");
}

}  // namespace zest::meta::kv
