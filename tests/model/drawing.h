// From a seed's numbers to operations, and from operations to text.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/model/model_fs.h"

namespace zest::model {

constexpr int kClients = 3;

/// An operation before its targets are known: numbers that pick among what is there.
using Draw = std::array<std::uint32_t, 12>;
/// Operations that run at the same time.
using Step = std::vector<Draw>;

std::vector<Step> draw_steps(std::uint64_t seed, std::size_t count);

/// A client and the inode that it opened.
using Handle = std::pair<int, Ino>;

/// The operation that `draw` means on the volume as it is; a close takes its handle off the list.
Op resolve(Draw const& draw, ModelFs const& model, std::vector<Handle>& handles);

/// The operations of a step; some may be left out.
std::vector<Op> resolve_step(Step const& step, ModelFs const& model, std::vector<Handle>& handles);

std::string describe(Op const& op, Reply const& reply);

}  // namespace zest::model
