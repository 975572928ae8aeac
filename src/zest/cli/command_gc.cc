// zest gc: objects that nobody needs, and what waits for its deletion.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "zest/admin/gc.h"
#include "zest/admin/volume.h"
#include "zest/cli/command.h"
#include "zest/cli/environment.h"
#include "zest/cli/options.h"
#include "zest/cli/output.h"
#include "zest/cli/units.h"
#include "zest/runtime/buffer_pool.h"

namespace zest::cli {
namespace {

constexpr std::uint64_t kThreadsDefault = 10;
constexpr std::size_t kBufferBytes = 300u << 20;

struct GcOptions {
  std::string meta_url;
  bool remove = false;
  bool compact = false;
  std::uint64_t threads = kThreadsDefault;
  Duration grace = admin::kGcGrace;
  bool list = false;
  bool json = false;
};

void show_progress(admin::GcReport const& report) {
  fmt::print(stderr, "\r{} files cleaned, {} chunks compacted, {} slices, {} objects, {} leaked … ",
             report.cleaned_files, report.compacted_chunks, report.slices, report.scanned.objects,
             report.leaked.objects);
}

admin::GcRequest request_of(GcOptions const& options) {
  admin::GcRequest request{.remove = options.remove,
                           .compact = options.compact,
                           .threads = options.threads,
                           .grace = options.grace};
  if (auto const* directory = std::getenv("TMPDIR"); directory != nullptr && *directory != '\0') {
    request.temp_directory = directory;
  }
  if (::isatty(STDERR_FILENO) != 0) {
    request.progress = show_progress;
  }
  if (options.list) {
    request.leaked = [](ObjectInfo const& object) {
      print(fmt::format("{} {}", object.key, object.size));
    };
  }
  return request;
}

Result<admin::GcReport> collect(Workshop& shop, GcOptions const& options) {
  return shop.run([&](Context const& ctx) -> Result<admin::GcReport> {
    ZEST_TRY(auto setting, admin::load_setting(ctx, shop.engine()));
    bool const changes = options.remove || options.compact;
    ZEST_CHECK(check_features(setting, /*read_only=*/!changes));
    ZEST_CHECK(decrypt_secrets(setting));
    ZEST_TRY(auto const store, open_store(setting, shop.pool()));
    BufferPool buffers(kBufferBytes, shop.metrics());
    BlockStore blocks(*store,
                      {.block_size = setting.block_size_bytes(),
                       .hash_prefix = setting.hash_prefix,
                       .compression = setting.compression.empty() ? "none" : setting.compression,
                       .cache_bytes = 0},
                      buffers, shop.pool(), shop.rng(), shop.log(), shop.metrics());
    // Never started: it works without a session.
    meta::Meta meta(shop.engine(), setting, {.read_only = !changes, .background_jobs = false},
                    shop.clock(), shop.rng(), shop.log(), shop.metrics());
    auto const request = request_of(options);
    auto report = admin::collect_garbage(ctx,
                                         {.meta = meta,
                                          .store = *store,
                                          .blocks = blocks,
                                          .setting = setting,
                                          .pool = shop.pool(),
                                          .clock = shop.clock(),
                                          .rng = shop.rng()},
                                         request);
    if (request.progress) {
      fmt::print(stderr, "\r\033[K");
    }
    return report;
  });
}

nlohmann::ordered_json json_of(admin::GcCount const& count) {
  return {{"Objects", count.objects}, {"Bytes", count.bytes}};
}

void print_json(admin::GcReport const& report) {
  nlohmann::ordered_json const object{{"DeletedFiles", report.deleted_files},
                                      {"CleanedFiles", report.cleaned_files},
                                      {"CleanedTrash", report.cleaned_trash},
                                      {"CleanedDetached", report.cleaned_detached},
                                      {"CleanedSlices", report.cleaned_slices},
                                      {"CompactedChunks", report.compacted_chunks},
                                      {"CompactedSlices", report.compacted_slices},
                                      {"CompactedBytes", report.compacted_bytes},
                                      {"Slices", report.slices},
                                      {"Scanned", json_of(report.scanned)},
                                      {"Valid", json_of(report.valid)},
                                      {"Delayed", json_of(report.delayed)},
                                      {"Pending", json_of(report.pending)},
                                      {"Young", json_of(report.young)},
                                      {"Unknown", json_of(report.unknown)},
                                      {"Leaked", json_of(report.leaked)},
                                      {"Removed", json_of(report.removed)},
                                      {"Kept", report.kept},
                                      {"Failed", report.failed}};
  print(object.dump(2));
}

void print_text(GcOptions const& options, admin::GcReport const& report) {
  if (options.compact) {
    print(fmt::format("{} chunks compacted: {} slices became {} of {}", report.compacted_chunks,
                      report.compacted_slices, report.compacted_chunks,
                      format_size(report.compacted_bytes)));
  }
  if (options.remove) {
    print(fmt::format("{} files of the trash, {} of {} deleted files and {} slices removed",
                      report.cleaned_trash, report.cleaned_files, report.deleted_files,
                      report.cleaned_slices));
  } else if (report.deleted_files > 0) {
    print(fmt::format("{} deleted files wait for the removal of their data", report.deleted_files));
  }
  auto const line = [](std::string_view what, admin::GcCount const& count) {
    if (count.objects > 0) {
      print(
          fmt::format("{:>12} objects, {:>10}: {}", count.objects, format_size(count.bytes), what));
    }
  };
  line("scanned", report.scanned);
  line("in use", report.valid);
  line("of compacted slices, kept for the trash period", report.delayed);
  line("of slices that wait for their removal", report.pending);
  line("too young to be judged", report.young);
  line("not named as blocks are, left alone", report.unknown);
  line("leaked", report.leaked);
  line("removed", report.removed);
  if (report.kept > 0) {
    print(fmt::format("{} objects came into use meanwhile and were kept", report.kept));
  }
}

int gc(Globals const& globals, GcOptions const& options) {
  auto shop = Workshop::create(globals.short_log());
  if (!shop.ok()) {
    return fail("gc", shop.error());
  }
  bool const changes = options.remove || options.compact;
  auto const opened =
      (*shop)->open(options.meta_url, changes ? EngineUse::existing : EngineUse::read_only);
  if (!opened.ok()) {
    return fail("gc", opened.error());
  }
  auto const report = collect(**shop, options);
  if (!report.ok()) {
    return fail("gc", report.error());
  }
  if (options.json) {
    print_json(*report);
  } else {
    print_text(options, *report);
  }
  if (report->failed > 0) {
    return fail("gc", Error(Errc::io, Fault::semantic,
                            fmt::format("{} objects could not be removed", report->failed)));
  }
  if (report->leaked.objects > 0 && !options.remove) {
    note("add --delete to remove the leaked objects");
    return kExitFound;
  }
  return kExitOk;
}

}  // namespace

void add_gc(CLI::App& app, Globals& globals, Selected& selected) {
  auto* command = app.add_subcommand(
      "gc", "Find objects that nobody needs; remove them and what waits for its deletion");
  auto options = std::make_shared<GcOptions>();  // shared by the declaration and the action
  command->add_option("META-URL", options->meta_url, "The database: sqlite3://PATH")->required();
  command->add_flag("--delete", options->remove,
                    "Remove leaked objects, expired trash, data of deleted files, and slices whose "
                    "time is over");
  command->add_flag("--compact", options->compact,
                    "Merge the slices of every chunk that has several");
  command->add_option("-p,--threads", options->threads, "Objects or chunks at once")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  add_duration(
      *command, "--grace", options->grace,
      "Objects younger than this are never touched. Clients may take up to an hour from an "
      "upload to its record: less is safe only while nobody writes");
  command->add_flag("--list", options->list, "Print key and size of each leaked object");
  command->add_flag("--json", options->json, "The result as one JSON object");
  command->callback([&globals, &selected, options] {
    selected.action = [&globals, options] { return gc(globals, *options); };
  });
}

}  // namespace zest::cli
