// Several clients of one volume against the model.
//
// A step runs one to three operations at the same time, each on any client; the simulated loop
// draws the order of their trips from the seed. There must be an order in which the model, one
// operation after the other, gives the same replies; the model goes on from there. At the end the
// tree, link counts, parents, content, usage and statistics must be the model's.
//
// A failure is shrunk by leaving steps out and printed with its seed. ZEST_MODEL_SEED=n runs that
// seed alone; ZEST_MODEL_SECONDS=n runs on for that long (default 3).
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "tests/model/execute.h"
#include "tests/model/model_fs.h"
#include "zest/format/trash.h"
#include "zest/meta/engine/sql/sqlite.h"
#include "zest/meta/statistics.h"
#include "zest/meta/testing.h"
#include "zest/runtime/sync.h"

namespace zest::model {
namespace {

using meta::testing::Client;
using meta::testing::Volume;
using zest::testing::run_simulated;

constexpr int kClients = 3;

struct Options {
  std::uint64_t seed = 1;
  bool trash = false;
  bool usage_in_commit = false;
  bool parents_stored = false;
  bool ordered = true;
  std::uint32_t conflict_per_mille = 0;
  std::uint32_t lost_reply_per_mille = 0;
  bool sqlite = false;
};

// An operation before its targets are known: numbers that pick among what is there.
using Draw = std::array<std::uint32_t, 12>;
using Step = std::vector<Draw>;

std::vector<Step> draw_steps(std::uint64_t seed, std::size_t count) {
  std::mt19937_64 random(seed);
  std::vector<Step> steps(count);
  for (auto& step : steps) {
    step.resize(1 + random() % 3);
    for (auto& draw : step) {
      for (auto& number : draw) {
        number = static_cast<std::uint32_t>(random());
      }
    }
  }
  return steps;
}

char const* kind_name(Kind kind) {
  constexpr std::array kNames{"mkdir",  "create", "symlink", "link",  "unlink",   "rmdir",
                              "rename", "lookup", "getattr", "chmod", "truncate", "write",
                              "read",   "copy",   "open",    "close"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::string describe(Op const& op, Reply const& reply) {
  std::ostringstream text;
  text << "client " << op.client << (op.root ? " root " : " user ") << kind_name(op.kind) << " ino "
       << op.ino.value << " '" << op.name << "' other " << op.other.value << " '" << op.other_name
       << "' flags " << std::oct << op.flags << std::dec << " cells " << op.first << '+' << op.count
       << ">" << op.to << " → errno " << reply.error << " ino " << reply.ino.value << " nlink "
       << reply.nlink << " length " << reply.length / kCell << " mode " << std::oct << reply.mode
       << std::dec << " unused " << reply.data_unused;
  for (auto const& cell : reply.cells) {
    text << ' ' << cell.slice << '.' << cell.index;
  }
  return text.str();
}

// Runs one list of steps; returns what went wrong.
class Run {
 public:
  explicit Run(Options const& options) : options_(options), model_(options.trash) {}

  std::optional<std::string> operator()(std::vector<Step> const& steps) {
    if (options_.sqlite) {
      zest::testing::run_on_loop([&] { play(steps); });  // Its threads follow no seed.
    } else {
      run_simulated([&] { play(steps); }, options_.seed);
    }
    if (!failure_.has_value()) {
      return std::nullopt;
    }
    return *failure_ + "\nhistory:\n" + history_.str();
  }

 private:
  std::unique_ptr<meta::Engine> make_engine() {
    if (options_.sqlite) {
      path_ = std::filesystem::temp_directory_path() /
              ("zest-model-" + std::to_string(::getpid()) + ".db");
      remove_files();
      meta::SqliteOptions sqlite;
      sqlite.path = path_.string();
      auto engine = meta::open_sqlite(sqlite, log_, metrics_);
      ZEST_ASSERT(engine.ok());
      return *std::move(engine);
    }
    meta::MemoryEngineOptions memory;
    memory.usage_in_commit = options_.usage_in_commit;
    memory.parents_stored = options_.parents_stored;
    memory.ordered_listing = options_.ordered;
    memory.rng = &rng_;
    memory.conflict_per_mille = options_.conflict_per_mille;
    memory.lost_reply_per_mille = options_.lost_reply_per_mille;
    return meta::make_memory_engine(std::move(memory));
  }
  void remove_files() {
    for (auto const* suffix : {"", "-wal", "-shm"}) {
      std::filesystem::remove(path_.string() + suffix);
    }
  }

  void play(std::vector<Step> const& steps) {
    auto volume = std::make_unique<Volume>(
        make_engine(), meta::testing::make_setting(options_.trash ? 1 : 0), options_.seed);
    for (auto& client : clients_) {
      client = std::make_unique<Client>(*volume);
    }
    for (auto const& step : steps) {
      play_step(step);
      if (failure_.has_value()) {
        break;
      }
    }
    if (!failure_.has_value()) {
      close_all();
      check_end(*volume);
    }
    for (auto& client : clients_) {
      client.reset();
    }
    volume.reset();
    if (options_.sqlite) {
      remove_files();
    }
  }

  Op resolve(Draw const& draw);
  Reply execute(Op& op) {
    return model::execute(op, clients_[static_cast<std::size_t>(op.client)]->meta);
  }

  void play_step(Step const& step) {
    std::vector<Op> ops;
    for (auto const& draw : step) {
      ops.push_back(resolve(draw));
    }
    std::vector<Reply> replies(ops.size());
    Scope scope;
    for (std::size_t i = 0; i < ops.size(); ++i) {
      scope.spawn([&, i] { replies[i] = execute(ops[i]); });
    }
    scope.join();
    for (std::size_t i = 0; i < ops.size(); ++i) {
      history_ << "  " << describe(ops[i], replies[i]) << '\n';
      if (ops[i].kind == Kind::open && replies[i].error == 0) {
        handles_.emplace_back(ops[i].client, ops[i].ino);
      }
    }
    history_ << "  --\n";
    // Several orders may give the same replies but not the same volume: these questions tell which.
    auto questions = questions_about(ops, replies);
    std::vector<Reply> answers;
    for (auto& question : questions) {
      answers.push_back(execute(question));
    }
    std::vector<std::size_t> order(ops.size());
    std::iota(order.begin(), order.end(), 0U);
    std::string expected;
    do {
      ModelFs attempt = model_;
      auto equal = true;
      for (auto const i : order) {
        auto const reply = attempt.apply(ops[i], replies[i].ino);
        if (reply != replies[i]) {
          equal = false;
          expected += "    model: " + describe(ops[i], reply) + '\n';
          break;
        }
      }
      for (std::size_t i = 0; equal && i < questions.size(); ++i) {
        auto const reply = attempt.apply(questions[i], Ino{});
        if (reply != answers[i]) {
          equal = false;
          expected += "    then: " + describe(questions[i], answers[i]) +
                      "\n    model: " + describe(questions[i], reply) + '\n';
        }
      }
      if (equal) {
        model_ = std::move(attempt);
        return;
      }
    } while (std::next_permutation(order.begin(), order.end()));
    failure_ = "no order of the operations gives these replies; the model says\n" + expected;
  }

  static std::vector<Op> questions_about(std::vector<Op> const& ops,
                                         std::vector<Reply> const& replies) {
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

  void close_all() {
    for (auto const& [client, ino] : std::exchange(handles_, {})) {
      Op op;
      op.kind = Kind::close;
      op.client = client;
      op.ino = ino;
      if (execute(op) != model_.apply(op, Ino{})) {
        failure_ = "close at the end";
      }
    }
  }

  void check_end(Volume& volume);
  void check_node(Volume& volume, Ino ino, Node const& node);

  Options options_;
  ModelFs model_;
  Rng rng_{options_.seed};
  Logger log_{LogConfig{.level = LogLevel::off, .file = {}, .json = false, .color = false}};
  Registry metrics_;
  std::filesystem::path path_;
  std::array<std::unique_ptr<Client>, kClients> clients_;
  std::vector<std::pair<int, Ino>> handles_;
  std::optional<std::string> failure_;
  std::ostringstream history_;
};

Op Run::resolve(Draw const& draw) {
  std::vector<Ino> all;
  std::vector<Ino> dirs;
  for (auto const& [ino, node] : model_.nodes()) {
    if (!node.trashed) {
      all.push_back(ino);
      if (node.type == FileType::directory) {
        dirs.push_back(ino);
      }
    }
  }
  constexpr std::array kKinds{
      Kind::mkdir,  Kind::mkdir,  Kind::create, Kind::create, Kind::create,   Kind::symlink,
      Kind::link,   Kind::link,   Kind::unlink, Kind::unlink, Kind::rmdir,    Kind::rmdir,
      Kind::rename, Kind::rename, Kind::rename, Kind::rename, Kind::lookup,   Kind::getattr,
      Kind::chmod,  Kind::write,  Kind::write,  Kind::read,   Kind::truncate, Kind::copy,
      Kind::open,   Kind::open,   Kind::close,  Kind::close};
  constexpr std::array<std::string_view, 4> kNames{"a", "b", "c", "d"};
  constexpr std::array<std::uint32_t, 6> kModes{0777, 0755, 0777, 01777, 0700, 0777};
  Op op;
  op.kind = kKinds[draw[0] % kKinds.size()];
  op.client = static_cast<int>(draw[1] % kClients);
  op.root = draw[2] % 4 != 0;
  auto const on_name = op.kind <= Kind::lookup && op.kind != Kind::link;
  // Now and then a file where a directory is wanted.
  auto const& targets = on_name && draw[3] % 16 != 0 ? dirs : all;
  op.ino = targets[draw[4] % targets.size()];
  op.name = kNames[draw[5] % kNames.size()];
  auto const& others = op.kind == Kind::copy ? all : dirs;
  op.other = others[draw[6] % others.size()];
  op.other_name = kNames[draw[7] % kNames.size()];
  op.flags = op.kind == Kind::rename ? std::max(draw[8] % 5, 2U) - 2 : kModes[draw[8] % 6];
  op.first = draw[9] % kCells;
  op.count = 1 + draw[10] % 4;
  op.to = draw[11] % (kCells - 4);
  if (op.kind == Kind::write) {
    op.count = std::min(op.count, kCellsPerChunk - op.first % kCellsPerChunk);
    op.root = true;
  } else if (op.kind == Kind::read) {
    op.first %= 2;
  } else if (op.kind == Kind::close) {
    if (handles_.empty()) {
      op.kind = Kind::getattr;
    } else {
      auto const handle = handles_.begin() + static_cast<std::ptrdiff_t>(draw[4] % handles_.size());
      std::tie(op.client, op.ino) = *handle;
      handles_.erase(handle);
    }
  }
  return op;
}

std::string text_of(DirStat const* stat) {
  if (stat == nullptr) {
    return "missing";
  }
  return std::to_string(stat->length) + " bytes, space " + std::to_string(stat->space) + ", " +
         std::to_string(stat->inodes) + " inodes";
}

void Run::check_node(Volume& volume, Ino ino, Node const& node) {
  auto& meta = clients_[0]->meta;
  auto const fail = [&](std::string const& what) {
    if (!failure_.has_value()) {
      failure_ = "at the end, inode " + std::to_string(ino.value) + ": " + what;
    }
  };
  auto const attr = meta.getattr(volume.root, ino);
  if (!attr.ok()) {
    return fail("missing");
  }
  if (attr->type != node.type || attr->mode != node.mode || attr->uid != node.owner ||
      attr->nlink != node.nlink) {
    fail("type, mode, owner or links: nlink " + std::to_string(attr->nlink) + ", model " +
         std::to_string(node.nlink));
  }
  if (node.type == FileType::directory) {
    if (!node.trashed && attr->parent != node.parent) {
      fail("parent");
    }
    std::map<std::string, Ino> entries;
    DirStat sum;
    auto const page = meta.readdir(volume.root, {.dir = ino, .from = {}, .limit = 100});
    for (auto const& entry : page->entries) {
      entries[entry.name] = entry.entry.ino;
      auto const child = meta.getattr(volume.root, entry.entry.ino);
      if (child.ok()) {
        auto const stat = meta::dir_stat_of(*child);
        sum = {sum.length + stat.length, sum.space + stat.space, sum.inodes + stat.inodes};
      }
    }
    if (entries != node.entries) {
      fail("entries");
    }
    // A directory in the trash keeps no statistics.
    meta::Key const key = meta::DirStatKey{ino};
    auto const stored = volume.engine->fetch(volume.root, std::span(&key, 1));
    auto const* stat = std::get_if<DirStat>(&stored->front());
    if (!node.trashed && (stat == nullptr || *stat != sum)) {
      fail("directory statistics are " + text_of(stat) + ", should be " + text_of(&sum));
    }
    return;
  }
  if (node.type != FileType::regular) {
    return;
  }
  if (attr->length != node.length * kCell) {
    fail("length");
  }
  for (std::uint32_t chunk = 0; chunk < 2; ++chunk) {
    auto const slices = meta.read_chunk(volume.root, ino, ChunkIndex{chunk});
    auto const begin = node.cells.begin() + chunk * kCellsPerChunk;
    if (cells_of(*slices) != std::vector<Cell>(begin, begin + kCellsPerChunk)) {
      fail("content");
    }
  }
}

void Run::check_end(Volume& volume) {
  for (auto& client : clients_) {
    if (!client->meta.flush_stats(volume.root).ok()) {
      failure_ = "flush";
      return;
    }
  }
  std::int64_t inodes = 0;
  std::int64_t space = 0;
  for (auto const& [ino, node] : model_.nodes()) {
    check_node(volume, ino, node);
    auto const length = node.type == FileType::regular ? node.length * kCell : 0;
    inodes += ino == kRootIno ? 0 : 1;
    space += ino == kRootIno ? 0 : static_cast<std::int64_t>(align_4k(length));
  }
  if (!model_.trash_names().empty()) {
    ++inodes;  // The hourly directory.
    space += 4096;
  }
  auto const usage = volume.engine->read_usage(volume.root);
  auto const made_trash = options_.trash && usage.ok() && usage->inodes == inodes + 1;
  if (made_trash && model_.trash_names().empty()) {
    ++inodes;  // Made for an operation that failed then.
    space += 4096;
  }
  if (!failure_.has_value() && (usage->inodes != inodes || usage->space != space)) {
    failure_ = "at the end: usage is " + std::to_string(usage->inodes) + " inodes, " +
               std::to_string(usage->space) + " bytes; the model has " + std::to_string(inodes) +
               " inodes, " + std::to_string(space) + " bytes";
  }
}

// Leaves out steps as long as it still fails.
std::vector<Step> shrink(Options const& options, std::vector<Step> steps) {
  for (auto size = steps.size() / 2; size > 0; size /= 2) {
    for (std::size_t at = 0; at + size <= steps.size();) {
      auto fewer = steps;
      auto const begin = fewer.begin() + static_cast<std::ptrdiff_t>(at);
      fewer.erase(begin, begin + static_cast<std::ptrdiff_t>(size));
      if (Run(options)(fewer).has_value()) {
        steps = std::move(fewer);
      } else {
        at += size;
      }
    }
  }
  return steps;
}

void check(Options const& options, std::size_t step_count) {
  auto const steps = draw_steps(options.seed, step_count);
  auto const failure = Run(options)(steps);
  if (!failure.has_value()) {
    return;
  }
  auto const least = options.sqlite ? steps : shrink(options, steps);
  ADD_FAILURE() << "ZEST_MODEL_SEED=" << options.seed << " fails; " << least.size() << " of "
                << steps.size() << " steps are left\n"
                << Run(options)(least).value_or("(the shrunk run passed)");
}

std::uint64_t number_from(char const* variable, std::uint64_t otherwise) {
  auto const* text = std::getenv(variable);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

Options options_of(std::uint64_t seed) {
  return {.seed = seed,
          .trash = seed % 3 == 0,
          .usage_in_commit = seed % 2 == 0,
          .parents_stored = seed % 5 < 2,
          .ordered = seed % 7 != 0,
          .conflict_per_mille = seed % 4 == 0 ? 200U : 0U,
          .lost_reply_per_mille = seed % 11 == 0 ? 50U : 0U};
}

TEST(MetaModel, SeveralClientsBehaveLikeOnePlainFileSystem) {
  if (auto const seed = number_from("ZEST_MODEL_SEED", 0); seed != 0) {
    check(options_of(seed), 300);
    return;
  }
  auto const until =
      std::chrono::steady_clock::now() + std::chrono::seconds(number_from("ZEST_MODEL_SECONDS", 3));
  std::uint64_t seed = 1;
  while (std::chrono::steady_clock::now() < until && !HasFailure()) {
    check(options_of(seed++), 300);
  }
  std::printf("%llu seeds\n", static_cast<unsigned long long>(seed - 1));
}

TEST(MetaModel, TheSameOnSqlite) {
  for (std::uint64_t seed = 1; seed <= 4 && !HasFailure(); ++seed) {
    check({.seed = seed, .trash = seed % 2 == 0, .sqlite = true}, 60);
  }
}

}  // namespace
}  // namespace zest::model
