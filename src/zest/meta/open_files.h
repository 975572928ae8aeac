// Which files this client has open, and the protocol between open and the deletion of a file.
//
// A file whose last name goes while it is open lives on as a sustained inode and is deleted by the
// last close (format/05 §14). So an unlink has to know whether the file is open, and an open must
// not slip in between that question and the commit:
//
//   open:    wait while the inode is being deleted; count + 1; then read the node
//   unlink:  mark the inode as being deleted; look at the count; commit; unmark
//
// An open that counted first makes the unlink keep the file; one that came later waits and then
// finds no node. The last close of a sustained file marks likewise, so an open that comes meanwhile
// finds no node either.
//
// Another client may delete a file that is open here. Then the last known node is what it is
// brought back from, see Meta::Impl::adopt.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "zest/base/context.h"
#include "zest/base/result.h"
#include "zest/base/types.h"
#include "zest/format/types.h"
#include "zest/runtime/sync.h"

namespace zest::meta {

/// Asked by a body whether this client's opens keep a file that loses its last name.
class OpenCheck {
 public:
  virtual ~OpenCheck() = default;
  /// True: keep the file. Opens of `ino` wait until the operation ended. May suspend; asking again
  /// is fine, and asking for another inode releases the first.
  virtual Result<bool> keeps(Context const& ctx, Ino ino) = 0;
};

/// Thread-safe; calls may suspend where noted. Size: one entry an open file, which the door limits.
class OpenFiles {
 public:
  OpenFiles() = default;
  OpenFiles(OpenFiles const&) = delete;
  OpenFiles& operator=(OpenFiles const&) = delete;

  /// Counts an open; suspends while the inode is being deleted.
  Result<void> open(Context const& ctx, Ino ino);
  class Deletion;
  /// Undoes one open. True: it was the last one of a sustained file; `deletion` has marked it, the
  /// caller deletes it now.
  [[nodiscard]] bool close(Ino ino, Deletion& deletion);
  [[nodiscard]] std::size_t size() const;
  /// The open file was made without a name and has a sustained record of this session: its last
  /// close deletes it.
  void made_unnamed(Ino ino);
  /// True for such a file until it was named: link(2) may do that, as on Linux to no other.
  [[nodiscard]] bool unnamed(Ino ino) const;
  void named(Ino ino);
  /// Open files that this session does not sustain: somebody else may delete them.
  [[nodiscard]] std::vector<Ino> not_sustained() const;

  /// The node as last seen, for files that are open; cleared by forget(). Only a hint: conditions
  /// of commits check it.
  [[nodiscard]] std::optional<Attr> hint(Ino ino) const;
  /// The same after forget(), too: for a file whose node another client deleted.
  [[nodiscard]] std::optional<Attr> last_seen(Ino ino) const;
  /// A file that was brought back with this length: chunks of it may be gone.
  void mark_adopted(Ino ino, std::uint64_t length);
  /// 0 for all other files.
  [[nodiscard]] std::uint64_t adopted_length(Ino ino) const;
  void remember(Ino ino, Attr const& attr);
  void forget(Ino ino);
  void forget_all();

  /// Marks inodes as being deleted for the lifetime of one operation; one inode at a time.
  class Deletion final : public OpenCheck {
   public:
    explicit Deletion(OpenFiles& files) : files_(files) {}
    ~Deletion() override { release(); }
    Deletion(Deletion const&) = delete;
    Deletion& operator=(Deletion const&) = delete;

    Result<bool> keeps(Context const& ctx, Ino ino) override;
    /// After the commit: the file is a sustained inode now. True: its last close came meanwhile, so
    /// the caller deletes it, still under this mark. False: the mark is gone.
    [[nodiscard]] bool sustained();
    /// After a commit of unknown outcome: the file may be a sustained inode, so its last close
    /// looks.
    void maybe_sustained();
    void release();

   private:
    friend class OpenFiles;
    OpenFiles& files_;
    Ino marked_;
  };

 private:
  struct File {
    std::uint32_t opens = 0;
    bool deleting = false;
    bool sustained = false;
    bool unnamed = false;
    std::uint64_t adopted_length = 0;
    bool stale = false;  ///< `attr` is no hint any more
    std::optional<Attr> attr;
  };
  struct Shard {
    mutable FiberMutex mutex;
    FiberCondition changed;
    std::unordered_map<Ino, File> files;
  };
  // A prime, so that inodes of one directory spread.
  static constexpr std::size_t kShards = 31;

  Shard& shard(Ino ino) { return shards_[ino.value % kShards]; }
  [[nodiscard]] Shard const& shard(Ino ino) const { return shards_[ino.value % kShards]; }

  std::array<Shard, kShards> shards_;
};

}  // namespace zest::meta
