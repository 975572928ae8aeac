// The facade: open files, slices, deleted data.
#include <algorithm>
#include <array>
#include <chrono>
#include <string>
#include <utility>

#include "zest/meta/meta_impl.h"
#include "zest/meta/rules.h"

namespace zest::meta {
namespace {

// Chunks that one listing of a deleted file returns.
constexpr std::size_t kDeletedChunks = 16;
// Slices whose references one commit removes.
constexpr std::size_t kForgetPerCommit = 500;
constexpr std::int64_t kDaySec = 24 * 3600;

}  // namespace

Result<Attr> Meta::open(Context const& ctx, Ino ino, std::uint32_t flags) {
  auto const writes = (access_of_open_flags(flags) & kWrite) != 0;
  if (writes) {
    ZEST_CHECK(impl_->check_writable());
  }
  ZEST_CHECK(impl_->open_files.open(ctx, ino));
  // Close-to-open: always as the engine has it now. And a file that another client deleted is not
  // opened any more.
  auto node = impl_->runner.run(ctx, [&](Txn& txn) { return txn.node(impl_->inside(ino)); });
  if (node.ok()) {
    impl_->open_files.remember(ino, *node);
    auto allowed = impl_->check_open(ctx, *node, flags);
    if (!allowed.ok()) {
      node = std::move(allowed).error();
    }
  }
  if (!node.ok()) {
    // An unlink in the meantime counted on this open; close() deletes what it kept.
    static_cast<void>(close(ctx, ino).ok());
    return node;
  }
  impl_->touch_atime(ctx, ino, *node);
  return node;
}

Result<std::optional<UnlinkReply>> Meta::close(Context const& ctx, Ino ino) {
  OpenFiles::Deletion deletion(impl_->open_files);
  if (!impl_->open_files.close(ino, deletion)) {
    return std::optional<UnlinkReply>();
  }
  auto const session = impl_->session.id();
  ZEST_TRY(auto const reply, impl_->runner.run(ctx, [&](Txn& txn) {
    return ops::delete_sustained(txn, session, ino);
  }));
  return reply.data_unused ? std::optional(reply) : std::nullopt;
}

Result<Slices> Meta::read_chunk(Context const& ctx, Ino ino, ChunkIndex index) {
  auto reply = impl_->by_handle(ctx, ino, [&] {
    return impl_->runner.run(ctx, [&](Txn& txn) { return ops::read_chunk(txn, {ino, index}); });
  });
  if (failed_with(reply, Errc::noent) && impl_->open_files.last_seen(ino).has_value()) {
    // Deleted by another client, and not to be brought back: the chunk may still be there.
    return impl_->runner.run(ctx, [&](Txn& txn) -> Result<Slices> {
      ZEST_TRY(auto slices, txn.get(ChunkKey{ino, index}));
      return slices.has_value() ? Result<Slices>(*std::move(slices)) : Errc::noent;
    });
  }
  if (!reply.ok()) {
    return std::move(reply).error();
  }
  if (reply->slices.empty() && index.value * kChunkSize < impl_->open_files.adopted_length(ino)) {
    return Error(Errc::io, Fault::semantic,
                 "inode " + std::to_string(ino.value) + ", chunk " + std::to_string(index.value) +
                     ": the file was deleted by another client while it was open here, and this "
                     "part of it is a hole or gone");
  }
  impl_->open_files.remember(ino, reply->attr);
  impl_->touch_atime(ctx, ino, reply->attr);
  return std::move(reply->slices);
}

Result<SliceId> Meta::new_slice(Context const& ctx) {
  ZEST_CHECK(impl_->check_writable());
  ZEST_TRY(auto const id, impl_->slices.next(ctx));
  return SliceId{id};
}

Result<WriteSliceReply> Meta::write_slice(Context const& ctx, WriteSliceRequest const& request) {
  ZEST_CHECK(impl_->check_writable());
  auto const session = request.session.value != 0 ? request.session : impl_->session.id();
  if (session != impl_->session.id()) {
    return Error(Errc::io, Fault::semantic, "written under a session that has ended");
  }
  auto const view = impl_->view();
  auto const hint = impl_->open_files.hint(request.ino);
  auto const body = [&](Txn& txn) -> Result<WriteSliceReply> {
    txn.fence(session);
    auto const assumed = txn.attempt() == 0 && hint.has_value();
    if (assumed) {
      txn.assume_node(request.ino, *hint);
    }
    auto written = ops::write_slice(txn, view, request);
    if (!written.ok() && assumed) {
      // Judged from a record that may be old: look again before anybody is told.
      return Error(Errc::again, Fault::conflict, "decided on a cached node");
    }
    return written;
  };
  ZEST_TRY(auto const reply,
           impl_->by_handle(ctx, request.ino, [&] { return impl_->runner.run_hinted(ctx, body); }));
  impl_->open_files.remember(request.ino, reply.attr);
  return reply;
}

Result<CopyRangeReply> Meta::copy_file_range(Context const& ctx, CopyRangeRequest const& request) {
  ZEST_CHECK(impl_->check_writable());
  auto const view = impl_->view();
  auto const copy = [&] {
    return impl_->runner.run(ctx,
                             [&](Txn& txn) { return ops::copy_file_range(txn, view, request); });
  };
  ZEST_TRY(auto const reply, impl_->by_handle(ctx, request.out, [&] {
    return impl_->by_handle(ctx, request.in, copy);
  }));
  impl_->open_files.remember(request.out, reply.out_attr);
  return reply;
}

Ino Meta::volume_ino(Ino ino) const noexcept {
  return impl_->inside(ino);
}

Result<void> Meta::sync(Context const& ctx) {
  return impl_->engine.sync(ctx);
}

Result<std::vector<DelayedSlice>> Meta::compact_chunk(Context const& ctx, ChunkKey const& key,
                                                      Slices const& seen, std::size_t skipped,
                                                      SliceRecord const& merged) {
  ZEST_CHECK(impl_->check_writable());
  ops::CompactRequest const request{.key = key,
                                    .seen = seen,
                                    .skipped = skipped,
                                    .merged = merged,
                                    .delay = impl_->current_setting()->trash_days > 0};
  bool again = false;
  auto done = impl_->runner.run(ctx, [&](Txn& txn) {
    again = txn.attempt() > 0;
    return ops::compact_chunk(txn, request);
  });
  if (failed_with(done, Errc::inval) && again) {
    // An earlier attempt whose reply was lost may have happened, and somebody compacted or copied
    // its slice since: that leaves a count of references (one alone has no record everywhere).
    std::array const traces{Key(key), Key(SliceRefKey{merged.id, merged.size})};
    ZEST_TRY(auto const found, impl_->engine.fetch(ctx, traces));
    auto const* now = std::get_if<Slices>(found.data());
    bool const named = now != nullptr && std::ranges::any_of(*now, [&](SliceRecord const& record) {
                         return record.id == merged.id;
                       });
    if (named || !std::holds_alternative<std::monostate>(found[1])) {
      return Error(Errc::inval, Fault::transient,
                   "the chunk changed after its compaction was committed");
    }
  }
  return done;
}

Result<std::vector<DelayedSlice>> Meta::delete_file_data(Context const& ctx, Ino ino,
                                                         std::uint64_t length) {
  ZEST_CHECK(impl_->check_writable());
  DelfileKey const record{ino, length};
  ZEST_TRY(bool const claimed,
           impl_->runner.run(ctx, [&](Txn& txn) { return ops::claim_delfile(txn, record); }));
  std::vector<DelayedSlice> unused;
  if (!claimed) {
    return unused;  // Somebody else deleted it, or has it open and brought it back.
  }
  while (unused.empty()) {
    auto const end = (length + kChunkSize - 1) / kChunkSize;
    ZEST_TRY(auto const page, impl_->engine.list_chunks_below(ctx, ChunkKey{ino, ChunkIndex{0}},
                                                              end, kDeletedChunks));
    if (page.chunks.empty()) {
      ZEST_CHECK(impl_->runner.run(ctx, [&](Txn& txn) -> Result<void> {
        txn.erase(record);
        return {};
      }));
      return unused;
    }
    for (auto const& [key, slices] : page.chunks) {
      ZEST_TRY(auto const dropped,
               impl_->runner.run(ctx, [&](Txn& txn) { return ops::drop_chunk(txn, key); }));
      unused.insert(unused.end(), dropped.begin(), dropped.end());
    }
  }
  return unused;
}

Result<void> Meta::forget_slices(Context const& ctx, std::vector<DelayedSlice> const& slices) {
  ZEST_CHECK(impl_->check_writable());
  for (std::size_t first = 0; first < slices.size(); first += kForgetPerCommit) {
    auto const last = std::min(slices.size(), first + kForgetPerCommit);
    std::vector<DelayedSlice> const part(slices.begin() + static_cast<std::ptrdiff_t>(first),
                                         slices.begin() + static_cast<std::ptrdiff_t>(last));
    ZEST_CHECK(impl_->runner.run(ctx, [&](Txn& txn) { return ops::forget_slices(txn, part); }));
  }
  return {};
}

Result<std::vector<DelfileEntry>> Meta::deleted_files(Context const& ctx, Duration age,
                                                      std::size_t limit) {
  auto const seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
  return impl_->engine.list_delfiles(ctx, impl_->clock.wall().sec - seconds, limit);
}

Result<std::vector<DelayedSlice>> Meta::garbage_slices(Context const& ctx, std::size_t limit) {
  return impl_->engine.list_garbage_slices(ctx, limit);
}

Result<ExpiredSlices> Meta::expire_delayed_slices(Context const& ctx, std::size_t limit) {
  ZEST_CHECK(impl_->check_writable());
  auto const edge = impl_->clock.wall().sec - impl_->current_setting()->trash_days * kDaySec;
  ZEST_TRY(auto const entries, impl_->engine.list_delayed_slices(ctx, edge, limit));
  ExpiredSlices expired{.lists = entries.size(), .unused = {}};
  for (auto const& entry : entries) {
    ZEST_TRY(auto const unused,
             impl_->runner.run(ctx, [&](Txn& txn) { return ops::drop_delayed(txn, entry.key); }));
    expired.unused.insert(expired.unused.end(), unused.begin(), unused.end());
  }
  return expired;
}

Result<bool> Meta::others_live(Context const& ctx) {
  ZEST_TRY(auto const sessions, impl_->engine.list_sessions(ctx));
  auto const now = impl_->clock.wall().sec;
  return std::ranges::any_of(sessions, [&](SessionEntry const& entry) {
    return entry.session != impl_->session.id() && entry.record.expire_sec >= now;
  });
}

Result<bool> Meta::take_lease(Context const& ctx, Lease lease, Duration interval) {
  ZEST_CHECK(impl_->check_writable());
  return impl_->take_lease(ctx, lease, interval);
}

}  // namespace zest::meta
