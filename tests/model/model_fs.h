// A plain file system in memory, written from POSIX and not from the sources: what the metadata
// core is compared with. Content is counted in cells of 8 MiB, eight a chunk.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "zest/format/types.h"

namespace zest::model {

constexpr std::uint64_t kCell = 8 * kMiB;
constexpr std::size_t kCellsPerChunk = 8;
constexpr std::size_t kCells = 16;

enum class Kind : std::uint8_t {
  mkdir,
  create,
  symlink,
  link,
  unlink,
  rmdir,
  rename,
  lookup,
  getattr,
  chmod,
  truncate,
  write,
  read,
  copy,
  open,
  close,
};

struct Op {
  Kind kind = Kind::getattr;
  int client = 0;
  bool root = true;  ///< otherwise user 5, group 5, whose permissions are checked
  Ino ino;
  std::string name;
  Ino other;
  std::string other_name;
  std::uint32_t flags = 0;  ///< rename's; the mode of chmod and of what is created
  std::size_t first = 0;    ///< cells
  std::size_t count = 0;
  std::size_t to = 0;
  std::uint64_t slice = 0;
};

/// A cell's content: slice and cell within it; 0 = zeros.
struct Cell {
  std::uint64_t slice = 0;
  std::uint64_t index = 0;
  friend bool operator==(Cell const&, Cell const&) = default;
};

/// Whether the caller of an operation got an answer.
enum class Outcome : std::uint8_t {
  answered,
  refused,  ///< the database was not reached: it has not happened
  unknown,  ///< no reply: it may have happened
};

/// What the caller of an operation sees.
struct Reply {
  Outcome outcome = Outcome::answered;
  int error = 0;
  Ino ino;
  std::uint32_t nlink = 0;
  std::uint64_t length = 0;
  std::uint16_t mode = 0;
  bool data_unused = false;
  std::vector<Cell> cells;
  std::string text;  ///< of an error, for people
  friend bool operator==(Reply const& a, Reply const& b) {
    return a.outcome == b.outcome && a.error == b.error && a.ino == b.ino && a.nlink == b.nlink &&
           a.length == b.length && a.mode == b.mode && a.data_unused == b.data_unused &&
           a.cells == b.cells;
  }
};

struct Node {
  FileType type = FileType::regular;
  std::uint16_t mode = 0;
  std::uint32_t owner = 0;
  std::uint32_t nlink = 1;
  std::map<std::string, Ino> entries;
  std::size_t length = 0;  ///< cells
  std::vector<Cell> cells;
  Ino parent;  ///< of a directory
  bool linked = false;
  bool trashed = false;  ///< its only place is the trash
  std::map<int, int> opens;
  int sustained_by = -1;
};

class ModelFs {
 public:
  explicit ModelFs(bool trash);

  /// Applies `op`; a new node gets number `fresh`.
  Reply apply(Op const& op, Ino fresh);
  /// A close that leaves an unlinked file to the end of its client's session.
  void close_later(Op const& op);
  /// The last close of such a file, which deletes it after all. False: there is no such file.
  bool close_left(Op const& op);
  [[nodiscard]] std::map<Ino, Node> const& nodes() const noexcept { return nodes_; }
  [[nodiscard]] std::set<std::string> const& trash_names() const noexcept { return trash_names_; }

 private:
  Reply make(Op const& op, Ino fresh, FileType type);
  Reply link(Op const& op);
  Reply unlink(Op const& op);
  Reply rmdir(Op const& op);
  Reply rename(Op const& op);
  Reply lookup(Op const& op);
  Reply getattr(Op const& op);
  Reply chmod(Op const& op);
  Reply truncate(Op const& op);
  Reply write(Op const& op);
  Reply read(Op const& op);
  Reply copy(Op const& op);
  Reply open(Op const& op);
  Reply close(Op const& op);

  Node* find(Ino ino);
  [[nodiscard]] static bool may(Op const& op, Node const& node, std::uint32_t mask);
  /// 0, or why the directory cannot be searched.
  int search(Op const& op, Ino dir);
  [[nodiscard]] static bool sticky(Op const& op, Node const& dir, Node const& node);
  bool drop_file(Op const& op, Ino dir, std::string const& name, Ino ino);
  void drop_dir(Ino dir, std::string const& name, Ino ino);
  bool below(Ino dir, Ino above);
  int check_rename(Op const& op, Node& from, Node& to, Ino source, Ino target);

  bool trash_;
  std::map<Ino, Node> nodes_;
  std::set<std::string> trash_names_;
};

}  // namespace zest::model
