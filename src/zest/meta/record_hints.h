// Nodes and names as this client last saw them, so that operations need not read them again.
//
// A mutation may decide on an old record: its commit's conditions find out, and the runner then
// judges the operation anew on fresh ones. So a warm mkdir is one trip. A reader may only be
// answered from here where the record is known to be current: when the engine pushes invalidations
// (Engine::set_listener). Every change that is pushed gets a number; a record is current when its
// reading began after the last change to it. Changes are kept by a hash of the inode: a collision
// costs a trip, never a stale answer.
//
// A directory that this client made has the names that this client knows, and no others, as long as
// nobody else changes it (known_dirs.h): so the lookup before a create needs no trip either.
//
// A directory's attributes may also be answered while they are young enough for the kernel to have
// kept them (recent_dir). The kernel drops what it has of a directory with each name it makes or
// removes there, and asks again before the next: those changes are this client's own, so what was
// read plus what was committed since is what the kernel would have kept. Where a reading and a
// commit overlapped, nobody can tell whether the one contains the other, and it is read again.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <tuple>

#include "zest/base/clock.h"
#include "zest/meta/engine.h"
#include "zest/meta/known_dirs.h"
#include "zest/meta/lru.h"
#include "zest/meta/record.h"

namespace zest::meta {

/// What a transaction may take from the hints.
enum class HintUse : std::uint8_t {
  none,     ///< read everything from the engine
  current,  ///< only records that are known to be current: for answers
  any,      ///< whatever was seen last: for changes, whose conditions check it
};

/// When a reading or a commit was sent.
struct Moment {
  std::uint64_t change = 0;  ///< pushed changes heard of until then
  std::uint64_t tick = 0;    ///< orders readings and own commits
  TimePoint time{};
};

/// A node that was read at `read_at`, and what this client changed since.
struct RecentNode {
  Attr attr;
  TimePoint read_at{};
};

/// Thread-safe; never suspends. About 230 bytes a node and 150 and the name's length a name.
class RecordHints final : public InvalidationListener {
 public:
  struct Limits {
    std::size_t nodes = 32'768;
    std::size_t names = 32'768;
  };
  /// The clock outlives the hints.
  explicit RecordHints(Clock const& clock) : RecordHints(clock, Limits{}) {}
  RecordHints(Clock const& clock, Limits limits);

  /// To be taken before a read or a commit is sent, and given to remember() or committed() with
  /// what came of it.
  [[nodiscard]] Moment now() noexcept;
  /// A NodeKey's, EdgeKey's or ChildKey's record; monostate: remembered to be absent (names only).
  /// Empty: not known, or not known to be current where that is asked for.
  [[nodiscard]] std::optional<Value> find(Key const& key, HintUse use);
  void remember(Key const& key, Value const& value, Moment const& sent);
  /// A directory that was read at `oldest` or later, with all that this client changed in it since.
  [[nodiscard]] std::optional<RecentNode> recent_dir(Ino ino, TimePoint oldest);

  /// now() for a commit that is about to be sent.
  [[nodiscard]] Moment sending(Commit const& commit);
  /// This client's own commit: its effects where they are known.
  void committed(Commit const& commit, Moment const& sent);
  /// A commit failed, or nobody knows: what it was decided on, or may have changed, is forgotten.
  void failed(Commit const& commit, Moment const& sent);

  /// Pushed changes make records current until the next one; without pushes none ever is.
  void expect_pushes() noexcept { pushes_.store(true, std::memory_order_release); }
  void nodes_changed(std::span<Ino const> nodes) noexcept override;
  void entries_changed(std::span<Ino const> dirs) noexcept override;
  void everything_changed() noexcept override;

 private:
  struct Name {
    Ino parent;
    std::string name;
    friend bool operator==(Name const&, Name const&) = default;
  };
  struct NameHash {
    std::size_t operator()(Name const& name) const noexcept;
  };
  template <class V>
  struct Item {
    V value;
    std::uint64_t read_at = 0;
  };
  struct Node {
    Attr attr;
    /// The tick at which it was complete: it contains all own commits that ended before, and none
    /// that was sent later. 0: that is not known.
    std::uint64_t complete = 0;
    TimePoint read{};
  };
  using Nodes = Lru<Ino, Item<Node>, std::hash<Ino>>;
  /// Empty: there is no such name.
  using Names = Lru<Name, Item<std::optional<Entry>>, NameHash>;
  using Changes = std::array<std::atomic<std::uint64_t>, 4096>;

  [[nodiscard]] bool usable(std::uint64_t read_at, Changes const& changes, Ino ino,
                            HintUse use) const noexcept;
  [[nodiscard]] std::uint64_t tick() noexcept { return ticks_.fetch_add(1) + 1; }
  [[nodiscard]] std::optional<Value> find_node(Ino ino, HintUse use);
  [[nodiscard]] std::optional<Value> find_name(Name const& name, HintUse use);
  [[nodiscard]] std::optional<Value> find_child(ChildKey const& key, HintUse use);
  void put_name(Name name, std::optional<Entry> entry, std::uint64_t read_at);
  void put_node(Ino ino, Node node, std::uint64_t read_at);
  void remember_node(Ino ino, Attr const* attr, Moment const& sent);
  void apply(Change const& change, Moment const& sent);
  void apply_node(Ino ino, Attr const& attr, Moment const& sent);
  void apply_update(UpdateNode const& update, Moment const& sent);
  void note(Changes& changes, Ino ino) noexcept;

  Clock const& clock_;
  Limits const limits_;
  std::atomic<bool> pushes_{false};
  std::atomic<std::uint64_t> changes_{1};
  std::atomic<std::uint64_t> floor_{0};  ///< the last time that everything changed
  Changes node_changes_{};
  Changes entry_changes_{};
  std::atomic<std::uint64_t> ticks_{0};
  std::mutex mutex_;
  std::array<std::uint64_t, std::tuple_size_v<Changes>> own_changes_{};  ///< ticks of commits' ends
  Nodes nodes_;
  Names names_;
  KnownDirs known_dirs_;
};

}  // namespace zest::meta
