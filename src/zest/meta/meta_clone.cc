// The facade: copies of files and trees, and files put together (format/05 §16).
//
// The copy of a tree grows from its top, which is a node without a name but with a record that says
// when it was begun; so whatever a crash leaves can be found (clean_detached). Directories are
// walked depth first with a cursor each; their entries are copied in batches, one commit each.
#include <algorithm>
#include <utility>

#include "zest/meta/meta_impl.h"
#include "zest/meta/ops/steps.h"
#include "zest/meta/rules.h"

namespace zest::meta {
namespace {

// Entries of one commit. Few enough for one transaction of any engine, also with their chunks.
constexpr std::size_t kBatch = 64;
// PATH_MAX bounds paths; a volume with a cycle must not hold us for ever.
constexpr int kDepthMax = 2048;

// The errors that the end would have, before all the work.
Result<void> check_place(Txn& txn, CloneRequest const& request) {
  ZEST_CHECK(check_new_name(request.parent, request.name));
  EdgeKey const edge{request.parent, std::string(request.name)};
  ZEST_CHECK(txn.fetch({NodeKey{request.parent}, edge}));
  ZEST_TRY(auto const dir, txn.node(request.parent));
  ZEST_TRY(auto const seen, judged(txn, request.parent, dir, kWrite | kExecute));
  ZEST_CHECK(check_add_entry(txn.caller(), request.parent, seen));
  ZEST_TRY(auto const taken, txn.get(edge));
  return taken.has_value() ? Result<void>(Errc::exist) : Result<void>();
}

}  // namespace

class Meta::Impl::TreeCopy {
 public:
  TreeCopy(Impl& meta, CloneRequest const& request, CloneProgress& progress)
      : meta_(meta), request_(request), progress_(progress) {}

  // Copies the top without a name.
  Result<ops::ClonedNode> top(Context const& ctx) {
    ZEST_TRY(auto item, new_item(ctx, request_.from, request_.parent, ""));
    item.detached = true;
    ZEST_TRY(auto const cloned, commit(ctx, std::span(&item, 1)));
    if (cloned.empty()) {
      return Errc::noent;
    }
    return cloned.front();
  }

  // Copies what is in directory `from` into the copy `to`.
  Result<void> entries(Context const& ctx, Ino from, Ino to, int depth) {
    if (depth > kDepthMax) {
      return Error::corrupt("directory " + std::to_string(from.value) +
                            ": directories are nested too deeply");
    }
    ListDir list{.dir = from, .from = {}, .limit = kBatch, .attrs = false};
    do {
      ZEST_TRY(auto page, meta_.engine.list_dir(ctx, list));
      progress_.total.fetch_add(page.entries.size());
      std::vector<ops::CloneItem> items;
      for (auto const& entry : page.entries) {
        ZEST_TRY(auto item, new_item(ctx, entry.entry.ino, to, entry.name));
        items.push_back(std::move(item));
      }
      ZEST_TRY(auto const cloned, commit(ctx, items));
      for (auto const& node : cloned) {
        ZEST_CHECK(rest_of(ctx, node, depth));
      }
      list.from = std::move(page.next);
    } while (!list.from.empty());
    return {};
  }

  // What does not fit into the commit of a node: many chunks, entries.
  Result<void> rest_of(Context const& ctx, ops::ClonedNode const& node, int depth) {
    if (node.node.type == FileType::directory) {
      return entries(ctx, node.from, node.to, depth + 1);
    }
    if (node.more_chunks > 0) {
      std::optional<ChunkIndex> next = ChunkIndex{0};
      while (next.has_value()) {
        ops::CloneChunks const chunks{
            .from = node.from, .to = node.to, .first = *next, .end = node.more_chunks};
        ZEST_TRY(next,
                 meta_.runner.run(ctx, [&](Txn& txn) { return ops::clone_chunks(txn, chunks); }));
      }
    }
    return {};
  }

 private:
  Result<ops::CloneItem> new_item(Context const& ctx, Ino from, Ino parent, std::string_view name) {
    ZEST_TRY(auto const fresh, meta_.inodes.next(ctx));
    ZEST_TRY(auto names, meta_.engine.list_xattrs(ctx, from));
    return ops::CloneItem{.from = from,
                          .to = Ino{fresh},
                          .parent = parent,
                          .name = std::string(name),
                          .xattrs = std::move(names),
                          .preserve = request_.preserve,
                          .umask = request_.umask};
  }

  Result<std::vector<ops::ClonedNode>> commit(Context const& ctx,
                                              std::span<ops::CloneItem const> items) {
    ZEST_CHECK(meta_.check_writable());
    if (items.empty()) {
      return std::vector<ops::ClonedNode>{};
    }
    auto const view = meta_.view();
    ZEST_TRY(auto cloned,
             meta_.runner.run(ctx, [&](Txn& txn) { return ops::clone_nodes(txn, view, items); }));
    progress_.cloned.fetch_add(items.size());
    return cloned;
  }

  Impl& meta_;
  CloneRequest const& request_;
  CloneProgress& progress_;
};

Result<EntryReply> Meta::clone(Context const& ctx, CloneRequest const& request,
                               CloneProgress* progress) {
  ZEST_CHECK(impl_->check_writable());
  auto mapped = request;
  mapped.from = impl_->inside(request.from);
  mapped.parent = impl_->inside(request.parent);
  ZEST_CHECK(impl_->runner.run(ctx, [&](Txn& txn) { return check_place(txn, mapped); }));
  CloneProgress unseen;
  auto& counts = progress == nullptr ? unseen : *progress;
  counts.total.fetch_add(1);
  Impl::TreeCopy copy(*impl_, mapped, counts);
  ZEST_TRY(auto const top, copy.top(ctx));
  auto done = copy.rest_of(ctx, top, 0);
  Result<EntryReply> reply = Errc::io;
  if (done.ok()) {
    auto const view = impl_->view();
    ops::AttachRequest const place{.ino = top.to, .parent = mapped.parent, .name = mapped.name};
    reply = impl_->runner.run(ctx, [&](Txn& txn) { return ops::attach(txn, view, place); });
  } else {
    reply = std::move(done).error();
  }
  if (reply.ok()) {
    return reply;
  }
  // Not with the caller's context: it may have been stopped.
  if (auto removed = impl_->remove_detached(Context{}, top.to); !removed.ok()) {
    impl_->log.warn("a clone that failed left its tree behind; gc removes it",
                    {{"inode", top.to.value}, {"error", removed.error().text()}});
  }
  return reply;
}

Result<Attr> Meta::concat(Context const& ctx, Ino out, std::span<Ino const> sources) {
  ZEST_CHECK(impl_->check_writable());
  auto const view = impl_->view();
  auto const append = [&](std::span<Ino const> part) {
    ops::ConcatRequest const request{.out = out, .sources = {part.begin(), part.end()}};
    return impl_->runner.run(ctx, [&](Txn& txn) { return ops::concat(txn, view, request); });
  };
  auto whole = append(sources);
  if (!failed_with(whole, Errc::fbig)) {
    if (whole.ok()) {
      impl_->open_files.remember(out, *whole);
    }
    return whole;
  }
  // Too much for one commit: file by file, and a large file in ranges.
  ZEST_TRY(auto target, getattr(ctx, out));
  for (auto const source : sources) {
    ZEST_TRY(auto const node, getattr(ctx, source));
    for (std::uint64_t at = 0; at < node.length;) {
      ZEST_TRY(auto const copied, copy_file_range(ctx, {.in = source,
                                                        .offset_in = at,
                                                        .out = out,
                                                        .offset_out = target.length,
                                                        .length = node.length - at}));
      target = copied.out_attr;
      at += copied.copied;
      if (copied.copied == 0) {
        break;  // It was cut meanwhile.
      }
    }
  }
  return target;
}

}  // namespace zest::meta
