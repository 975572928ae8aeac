#include "tests/model/run.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <set>
#include <sstream>
#include <utility>

#include "tests/model/comparison.h"
#include "tests/model/execute.h"
#include "tests/model/model_fs.h"
#include "tests/model/shrink.h"
#include "zest/meta/testing.h"
#include "zest/runtime/sync.h"

namespace zest::model {
namespace {

using meta::testing::Client;
using meta::testing::Volume;

/// Looks for an order of a step's operations, and for the outcomes of those that nobody knows, with
/// which the model gives what the clients saw.
class Explanation {
 public:
  Explanation(std::vector<Op> ops, std::vector<Reply> replies, std::vector<Op> questions,
              std::vector<Reply> answers, bool faulty)
      : ops_(std::move(ops)),
        replies_(std::move(replies)),
        questions_(std::move(questions)),
        answers_(std::move(answers)),
        faulty_(faulty) {}

  std::optional<ModelFs> find(ModelFs const& model) {
    collect_fresh(model);
    std::vector<bool> done(ops_.size());
    return explore(model, done);
  }
  [[nodiscard]] std::string const& contradictions() const noexcept { return contradictions_; }

 private:
  // Inodes that the model does not know: one of them is what an unanswered creation made.
  void collect_fresh(ModelFs const& model) {
    for (auto const* list : {&replies_, &answers_}) {
      for (auto const& reply : *list) {
        if (reply.ino && !model.nodes().contains(reply.ino)) {
          fresh_.insert(reply.ino);
        }
      }
    }
    fresh_.insert(Ino{std::uint64_t{1} << 50U});  // Made, and gone before anybody saw its number.
  }

  // An open that fails is closed again: that may be the last close, of which nobody hears. And a
  // client that does not know whether it has unlinked a file that it has open may find out at its
  // last close, or only when its session ends.
  std::optional<ModelFs> explore_close(std::size_t i, ModelFs const& model,
                                       std::vector<bool>& done) {
    auto const& op = ops_[i];
    auto const& reply = replies_[i];
    ModelFs next = model;
    auto const expected = next.apply(op, Ino{});
    if (expected == reply || (expected.data_unused && reply.error == 0 && failed_open(op))) {
      if (auto found = explore(next, done); found.has_value()) {
        return found;
      }
    }
    next = model;
    if (faulty_ && reply.data_unused && next.close_left(op)) {
      return explore(next, done);
    }
    if (faulty_ && expected.data_unused && reply.error == 0 && !reply.data_unused) {
      next = model;
      next.close_later(op);
      return explore(next, done);
    }
    if (expected != reply) {
      contradictions_ += "    model: " + describe(op, expected) + '\n';
    }
    return std::nullopt;
  }
  [[nodiscard]] bool failed_open(Op const& close) const {
    for (std::size_t i = 0; i < ops_.size(); ++i) {
      if (ops_[i].kind == Kind::open && ops_[i].client == close.client &&
          ops_[i].ino == close.ino && replies_[i].error != 0) {
        return true;
      }
    }
    return false;
  }
  static bool changes_nothing(Kind kind) {
    return kind == Kind::lookup || kind == Kind::getattr || kind == Kind::read ||
           kind == Kind::open;
  }
  static bool makes_node(Kind kind) {
    return kind == Kind::mkdir || kind == Kind::create || kind == Kind::symlink;
  }

  std::optional<ModelFs> explore(ModelFs const& model, std::vector<bool>& done) {
    auto last = true;
    for (std::size_t i = 0; i < ops_.size(); ++i) {
      if (done[i]) {
        continue;
      }
      last = false;
      done[i] = true;
      auto found = explore_op(i, model, done);
      done[i] = false;
      if (found.has_value()) {
        return found;
      }
    }
    return last ? explains_answers(model) : std::nullopt;
  }

  std::optional<ModelFs> explore_op(std::size_t i, ModelFs const& model, std::vector<bool>& done) {
    auto const& reply = replies_[i];
    if (reply.outcome == Outcome::answered && ops_[i].kind == Kind::close) {
      return explore_close(i, model, done);
    }
    if (reply.outcome == Outcome::answered) {
      ModelFs next = model;
      auto const expected = next.apply(ops_[i], reply.ino);
      if (expected != reply) {
        contradictions_ += "    model: " + describe(ops_[i], expected) + '\n';
        return std::nullopt;
      }
      return explore(next, done);
    }
    ModelFs unchanged = model;
    if (ops_[i].kind == Kind::close) {
      unchanged.close_later(ops_[i]);  // Whatever became of the file, the handle is gone.
    }
    if (auto found = explore(unchanged, done); found.has_value()) {  // It did not happen.
      return found;
    }
    if (reply.outcome == Outcome::refused || changes_nothing(ops_[i].kind)) {
      return std::nullopt;
    }
    auto const nothing = std::set<Ino>{Ino{}};
    for (auto const fresh : makes_node(ops_[i].kind) ? fresh_ : nothing) {
      if (fresh && model.nodes().contains(fresh)) {
        continue;
      }
      ModelFs next = model;
      if (next.apply(ops_[i], fresh).error != 0) {
        continue;
      }
      if (auto found = explore(next, done); found.has_value()) {
        return found;
      }
    }
    return std::nullopt;
  }

  std::optional<ModelFs> explains_answers(ModelFs const& model) {
    ModelFs asked = model;
    for (std::size_t i = 0; i < questions_.size(); ++i) {
      auto const reply = asked.apply(questions_[i], Ino{});
      if (reply != answers_[i]) {
        contradictions_ += "    then: " + describe(questions_[i], answers_[i]) +
                           "\n    model: " + describe(questions_[i], reply) + '\n';
        return std::nullopt;
      }
    }
    return asked;
  }

  std::vector<Op> ops_;
  std::vector<Reply> replies_;
  std::vector<Op> questions_;
  std::vector<Reply> answers_;
  bool faulty_;  ///< some outcomes are unknown
  std::set<Ino> fresh_;
  std::string contradictions_;
};

// Several orders may give the same replies but not the same volume: these questions tell which.
std::vector<Op> questions_about(std::vector<Op> const& ops, std::vector<Reply> const& replies) {
  std::vector<Op> questions;
  auto const ask = [&](Kind kind, Ino ino, std::string const& name, std::size_t chunk) {
    Op op;
    op.kind = kind;
    op.ino = ino;
    op.name = name;
    op.first = chunk;
    questions.push_back(op);
  };
  for (std::size_t i = 0; i < ops.size(); ++i) {
    for (auto const ino : {ops[i].ino, ops[i].other, replies[i].ino}) {
      if (!ino) {
        continue;
      }
      ask(Kind::getattr, ino, "", 0);
      ask(Kind::read, ino, "", 0);
      ask(Kind::read, ino, "", 1);
      ask(Kind::lookup, ino, ops[i].name, 0);
      ask(Kind::lookup, ino, ops[i].other_name, 0);
    }
  }
  return questions;
}

/// Plays steps on a fiber.
class Run {
 public:
  explicit Run(RunOptions const& options)
      : options_(options), model_(options.trash), plan_(options.seed, options.faults) {
    if (options.nth != 0) {
      plan_.fail_nth(options.nth, options.nth_fault, 2);
    }
  }

  RunReport operator()(std::vector<Step> const& steps) {
    auto const body = [&] { play(steps); };
    if (options_.simulated) {
      zest::testing::run_simulated(body, options_.seed);
    } else {
      zest::testing::run_on_loop(body);
    }
    if (report_.failure.has_value()) {
      *report_.failure += "\nhistory:\n" + history_.str();
    }
    report_.injected = plan_.injected();
    return std::move(report_);
  }

 private:
  struct Member {
    std::unique_ptr<meta::Engine> engine;
    std::unique_ptr<meta::Engine> faulty;
    std::unique_ptr<Client> client;
  };

  void play(std::vector<Step> const& steps) {
    auto const database = options_.make_database();
    Volume volume(database->connect(), meta::testing::make_setting(options_.trash ? 1 : 0),
                  options_.seed);
    std::array<Member, kClients> members;
    members_ = &members;
    for (auto& member : members) {
      member.engine = database->connect();
      ZEST_ASSERT(member.engine != nullptr);
      member.faulty = fault::make_faulty_engine(*member.engine, &plan_);
      member.client = std::make_unique<Client>(volume, *member.faulty);
    }
    for (auto const& step : steps) {
      play_step(step);
      if (report_.failure.has_value()) {
        break;
      }
    }
    if (!report_.failure.has_value()) {
      finish(volume);
    }
    for (auto& member : members) {
      member.client.reset();  // Before any engine: clients see each other's sessions.
    }
  }

  meta::Meta& meta_of(int client) {
    return (*members_)[static_cast<std::size_t>(client)].client->meta;
  }

  void play_step(Step const& step) {
    if (step.empty()) {
      return;  // All its operations were left out.
    }
    auto ops = resolve_step(step, model_, handles_);
    std::vector<Reply> replies(ops.size());
    if (options_.nth == 0) {
      plan_.reseed(options_.seed + step.front().front());  // It keeps its faults when others go.
    }
    {
      disturb(true);
      Scope scope;
      for (std::size_t i = 0; i < ops.size(); ++i) {
        scope.spawn([&, i] { replies[i] = execute(ops[i], meta_of(ops[i].client)); });
      }
      scope.join();
      disturb(false);
    }
    note(ops, replies);
    auto questions = questions_about(ops, replies);
    auto const answers = answers_to(questions);
    Explanation explanation(ops, replies, questions, answers, report_.unknown > 0);
    if (auto next = explanation.find(model_); next.has_value()) {
      model_ = *std::move(next);
    } else {
      report_.failure = "no order of the operations gives these replies; the model says\n" +
                        explanation.contradictions() + "  afterwards\n";
      for (std::size_t i = 0; i < questions.size(); ++i) {
        *report_.failure += "    " + describe(questions[i], answers[i]) + '\n';
      }
    }
  }

  void disturb(bool on) {
    plan_.on(on);
    if (options_.disturb) {
      options_.disturb(on);
    }
  }

  void note(std::vector<Op> const& ops, std::vector<Reply> const& replies) {
    for (std::size_t i = 0; i < ops.size(); ++i) {
      history_ << "  " << describe(ops[i], replies[i]) << '\n';
      if (ops[i].kind == Kind::open && replies[i].error == 0) {
        handles_.emplace_back(ops[i].client, ops[i].ino);
      }
      ++report_.operations;
      report_.refused += replies[i].outcome == Outcome::refused ? 1U : 0U;
      report_.unknown += replies[i].outcome == Outcome::unknown ? 1U : 0U;
    }
    history_ << "  --\n";
  }

  // Where the database tells clients what to forget, it does so a moment after a change: then all
  // clients are asked until they agree.
  std::vector<Reply> answers_to(std::vector<Op>& questions) {
    constexpr int kTries = 200;
    std::vector<Reply> answers;
    auto const& engine = *members_->front().engine;
    auto const clients = engine.capabilities().invalidation_pushes ? kClients : 1;
    for (auto& question : questions) {
      auto agreed = false;
      Reply answer;
      for (int i = 0; i < kTries && !agreed; ++i) {
        agreed = true;
        question.client = 0;
        answer = ask(question);
        for (int client = 1; client < clients; ++client) {
          question.client = client;
          agreed = agreed && ask(question) == answer;
        }
        if (!agreed) {
          static_cast<void>(
              Loop::current()->sleep_for(Context{}, std::chrono::milliseconds(2)).ok());
        }
      }
      answers.push_back(std::move(answer));
    }
    return answers;
  }

  Reply ask(Op& question) {
    constexpr int kTries = 400;  // ten seconds, in which a server starts again
    auto reply = execute(question, meta_of(question.client));
    for (int i = 0; i < kTries && reply.outcome != Outcome::answered; ++i) {
      static_cast<void>(Loop::current()->sleep_for(Context{}, std::chrono::milliseconds(25)).ok());
      reply = execute(question, meta_of(question.client));
    }
    return reply;
  }

  void finish(Volume& volume) {
    for (auto const& [client, ino] : std::exchange(handles_, {})) {
      Op op;
      op.kind = Kind::close;
      op.client = client;
      op.ino = ino;
      std::vector<Reply> const replies{ask(op)};
      Explanation explanation({op}, replies, {}, {}, report_.unknown > 0);
      auto next = explanation.find(model_);
      if (!next.has_value()) {
        report_.failure = "close at the end: " + describe(op, replies.front()) + '\n' +
                          explanation.contradictions();
        return;
      }
      model_ = *std::move(next);
    }
    for (auto& member : *members_) {
      auto const flushed = patiently([&] { return member.client->meta.flush_stats(volume.root); });
      if (!flushed.ok()) {
        report_.failure = "flush: " + flushed.error().text();
        return;
      }
    }
    // What happened although nobody was told is in no sum; so are sums whose reply was lost.
    auto const exact = report_.unknown == 0 && !options_.disturb;
    report_.failure = difference(volume, meta_of(0), model_, exact);
  }

  RunOptions const& options_;
  ModelFs model_;
  fault::Plan plan_;
  std::array<Member, kClients>* members_ = nullptr;
  std::vector<Handle> handles_;
  RunReport report_;
  std::ostringstream history_;
};

}  // namespace

RunReport run_steps(RunOptions const& options, std::vector<Step> const& steps) {
  return Run(options)(steps);
}

RunReport check(RunOptions const& options, std::size_t step_count, int tries) {
  auto const steps = draw_steps(options.seed, step_count);
  auto report = run_steps(options, steps);
  if (!report.failure.has_value()) {
    return report;
  }
  auto last = *report.failure;
  auto const fails = [&](std::vector<Step> const& some) {
    for (int i = 0; i < tries; ++i) {
      if (auto again = run_steps(options, some); again.failure.has_value()) {
        last = *again.failure;
        return true;
      }
    }
    return false;
  };
  auto least = shrink<Step>(steps, fails);
  for (std::size_t i = 0; i < least.size(); ++i) {  // Operations of a step.
    least[i] = shrink<Draw>(
        least[i],
        [&](Step const& step) {
          auto some = least;
          some[i] = step;
          return fails(some);
        },
        std::chrono::seconds(10));
  }
  ADD_FAILURE() << "ZEST_MODEL_SEED=" << options.seed << " fails; " << least.size() << " of "
                << steps.size() << " steps are left\n"
                << last;
  return report;
}

std::uint64_t number_from(char const* variable, std::uint64_t otherwise) {
  auto const* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

}  // namespace zest::model
