// The facade: open files without a name. O_TMPFILE makes them; another client makes them by taking
// away the last name of a file that is open here.
//
// The other client cannot know who has the file open, so it deletes the node, and the data a while
// later (Jobs::delete_file waits when other sessions live). This client notices, at its next
// operation on the handle or at a heartbeat, and puts the node back without a name, sustained by
// its own session. A deleter claims the file before it drops the first chunk, so a file is brought
// back whole or not at all; only clients of other makes delete without a claim.
#include <algorithm>
#include <utility>

#include "zest/meta/meta_impl.h"

namespace zest::meta {
namespace {

// Open files whose nodes one trip looks at.
constexpr std::size_t kNodesPerFetch = 1000;
// Deleted files among which one is looked for whose length is not known here.
constexpr std::size_t kDelfilesMax = 10'000;
// Clocks of clients differ; deleted a moment ago there may be later than now here.
constexpr std::int64_t kDaySec = 24 * 3600;

}  // namespace

Result<EntryReply> Meta::tmpfile(Context const& ctx, MknodRequest const& request) {
  ZEST_CHECK(impl_->check_writable());
  auto unnamed = request;
  unnamed.type = FileType::regular;
  unnamed.name = {};
  unnamed.unnamed = true;
  ZEST_TRY(auto const fresh, impl_->inodes.next(ctx));
  Ino const ino{fresh};
  ZEST_CHECK(impl_->open_files.open(ctx, ino));
  auto reply = impl_->make_node(ctx, unnamed, fresh);
  if (!reply.ok()) {
    static_cast<void>(close(ctx, ino).ok());
    return reply;
  }
  impl_->open_files.made_unnamed(ino);
  impl_->open_files.remember(ino, reply->attr);
  return reply;
}

Result<bool> Meta::Impl::adopt(Context const& ctx, Ino ino) {
  auto const seen = open_files.last_seen(ino);
  if (!seen.has_value() || config.read_only || session.id().value == 0 || !alive()) {
    return false;
  }
  OpenFiles::Deletion mark(open_files);
  ZEST_TRY(bool const open, mark.keeps(ctx, ino));
  if (!open) {
    return false;
  }
  ops::AdoptRequest request{.ino = ino, .session = session.id(), .seen = *seen};
  auto const attempt = [&] {
    return runner.run(ctx, [&](Txn& txn) { return ops::adopt(txn, request); });
  };
  ZEST_TRY(auto reply, attempt());
  if (!reply.there) {
    // Its length may have changed since it was seen.
    ZEST_TRY(auto const deleted,
             engine.list_delfiles(ctx, clock.wall().sec + kDaySec, kDelfilesMax));
    auto const found = std::ranges::find(deleted, ino, &DelfileEntry::ino);
    if (found == deleted.end() || found->length == seen->length) {
      return false;
    }
    request.seen.length = found->length;
    ZEST_TRY(reply, attempt());
  }
  if (!reply.brought_back) {
    return reply.there;
  }
  log.info("a file that is open here was deleted by another client; it stays until its last close",
           {{"inode", ino.value}});
  open_files.forget(ino);
  open_files.mark_adopted(ino, request.seen.length);
  if (!mark.sustained()) {
    return true;
  }
  // The last close came meanwhile; the data wait for the hourly job.
  ZEST_CHECK(
      runner.run(ctx, [&](Txn& txn) { return ops::delete_sustained(txn, request.session, ino); }));
  return false;
}

Result<void> Meta::Impl::adopt_deleted(Context const& ctx) {
  auto const files = open_files.not_sustained();
  for (std::size_t first = 0; first < files.size(); first += kNodesPerFetch) {
    auto const count = std::min(kNodesPerFetch, files.size() - first);
    std::vector<Key> keys;
    keys.reserve(count);
    for (std::size_t i = first; i < first + count; ++i) {
      keys.emplace_back(NodeKey{files[i]});
    }
    ZEST_TRY(auto const nodes, engine.fetch(ctx, keys));
    for (std::size_t i = 0; i < count; ++i) {
      if (std::holds_alternative<std::monostate>(nodes[i])) {
        ZEST_CHECK(adopt(ctx, files[first + i]));
      }
    }
  }
  return {};
}

}  // namespace zest::meta
