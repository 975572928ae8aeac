// Makes a failing list shorter (delta debugging): what is left fails, and leaving out any one more
// item makes it pass.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

namespace zest::model {

/// Leaves out ever smaller pieces of `items` as long as `fails` says that the rest still fails,
/// until no single item can go, or `patience` is over.
template <class Item>
std::vector<Item> shrink(std::vector<Item> items,
                         std::function<bool(std::vector<Item> const&)> const& fails,
                         std::chrono::seconds patience = std::chrono::seconds(60)) {
  auto const end = std::chrono::steady_clock::now() + patience;
  auto size = std::max<std::size_t>(items.size() / 2, 1);
  while (!items.empty()) {
    auto shorter = false;
    for (std::size_t at = 0; at < items.size() && std::chrono::steady_clock::now() < end;) {
      auto fewer = items;
      auto const begin = fewer.begin() + static_cast<std::ptrdiff_t>(at);
      fewer.erase(begin, begin + static_cast<std::ptrdiff_t>(std::min(size, items.size() - at)));
      if (fails(fewer)) {
        items = std::move(fewer);
        shorter = true;
      } else {
        at += size;
      }
    }
    if (size == 1 && (!shorter || std::chrono::steady_clock::now() >= end)) {
      break;
    }
    size = std::max<std::size_t>(size / 2, 1);
  }
  return items;
}

}  // namespace zest::model
