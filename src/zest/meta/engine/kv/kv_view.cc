#include "zest/meta/engine/kv/kv_view.h"

#include <algorithm>
#include <utility>

namespace zest::meta::kv {

namespace {

RangeReply const kNoPairs;

bool inside(std::pair<std::string, std::string> const& range, std::string const& key) {
  return range.first <= key && key < range.second;
}

}  // namespace

// ---- Overlay

void Overlay::put(std::string key, std::string value) {
  writes_.insert_or_assign(std::move(key), std::move(value));
}

void Overlay::erase(std::string key) {
  writes_.insert_or_assign(std::move(key), std::nullopt);
}

void Overlay::erase_range(std::string begin, std::string end) {
  writes_.erase(writes_.lower_bound(begin), writes_.lower_bound(end));
  ranges_.emplace_back(std::move(begin), std::move(end));
}

void Overlay::merge(Overlay later) {
  for (auto& [begin, end] : later.ranges_) {
    erase_range(std::move(begin), std::move(end));
  }
  for (auto& [key, value] : later.writes_) {
    writes_.insert_or_assign(key, std::move(value));
  }
}

Overlay::Fate Overlay::find(std::string const& key, std::string_view& value) const {
  if (auto const it = writes_.find(key); it != writes_.end()) {
    if (!it->second) {
      return Fate::erased;
    }
    value = *it->second;
    return Fate::put;
  }
  auto const erased = std::ranges::any_of(ranges_, [&](auto const& r) { return inside(r, key); });
  return erased ? Fate::erased : Fate::untouched;
}

bool Overlay::touches(std::string const& begin, std::string const& end) const {
  auto const it = writes_.lower_bound(begin);
  return (it != writes_.end() && it->first < end) ||
         std::ranges::any_of(ranges_,
                             [&](auto const& r) { return r.first < end && begin < r.second; });
}

std::vector<Write> Overlay::writes() const {
  std::vector<Write> writes;
  for (auto const& [key, value] : writes_) {
    if (value) {
      writes.emplace_back(PutPair{.key = key, .value = *value});
    } else if (std::ranges::none_of(ranges_, [&](auto const& r) { return inside(r, key); })) {
      writes.emplace_back(DeleteKey{key});
    }
  }
  for (auto const& [first, end] : ranges_) {
    auto begin = first;
    for (auto it = writes_.lower_bound(first); it != writes_.end() && it->first < end; ++it) {
      if (it->second) {
        if (begin < it->first) {
          writes.emplace_back(DeleteRange{.begin = begin, .end = it->first});
        }
        begin = it->first + '\0';
      }
    }
    if (begin < end) {
      writes.emplace_back(DeleteRange{.begin = begin, .end = end});
    }
  }
  return writes;
}

// ---- Base

Base::Known const* Base::find(std::string const& key) {
  if (auto const it = keys_.find(key); it != keys_.end()) {
    return &it->second;
  }
  if (cache_ == nullptr) {
    return nullptr;
  }
  auto remembered = cache_->find(key);
  if (!remembered) {
    return nullptr;
  }
  Known known{.versioned = *std::move(remembered), .source = Source::remembered};
  return &keys_.emplace(key, std::move(known)).first->second;
}

Base::KnownRange const* Base::find(Range const& range) const {
  auto const it = ranges_.find(range);
  return it == ranges_.end() ? nullptr : &it->second;
}

void Base::learn(Read const& asked, ReadReply reply) {
  for (std::size_t i = 0; i < asked.keys.size(); ++i) {
    if (cache_ != nullptr) {
      cache_->store(asked.keys[i], reply.values[i]);
    }
    keys_.insert_or_assign(asked.keys[i], Known{.versioned = std::move(reply.values[i])});
  }
  for (std::size_t i = 0; i < asked.ranges.size(); ++i) {
    ranges_.insert_or_assign(
        asked.ranges[i],
        KnownRange{.reply = std::move(reply.ranges[i]), .revision = reply.revision});
  }
}

void Base::suppose(std::string const& key, std::optional<std::string> value) {
  if (find(key) == nullptr) {
    keys_.emplace(key, Known{.versioned = {.value = std::move(value), .revision = 0},
                             .source = Source::supposed});
  }
}

void Base::suppose_empty(Range const& range) {
  ranges_.try_emplace(range, KnownRange{.reply = {}, .revision = 0, .source = Source::supposed});
}

// ---- Dependencies

void Dependencies::merge(Dependencies const& other) {
  keys.insert(other.keys.begin(), other.keys.end());
  ranges.insert(other.ranges.begin(), other.ranges.end());
  between.insert(other.between.begin(), other.between.end());
}

Read Dependencies::read() const {
  Read read{.keys = {keys.begin(), keys.end()}, .ranges = {ranges.begin(), ranges.end()}};
  for (auto const& [key, bounds] : between) {
    if (!keys.contains(key)) {
      read.keys.push_back(key);
    }
  }
  return read;
}

std::vector<Compare> compares(Base& base, Dependencies const& dependencies) {
  std::vector<Compare> compares;
  for (auto const& key : dependencies.keys) {
    auto const* known = base.find(key);
    if (known == nullptr) {
      continue;  // A missing record: the caller reads it before it commits.
    }
    auto const& [value, revision] = known->versioned;
    if (!value) {
      compares.emplace_back(IsAbsent{key});
    } else if (known->source == Base::Source::supposed) {
      compares.emplace_back(IsValue{.key = key, .value = *value});
    } else {
      compares.emplace_back(IsRevision{.key = key, .revision = revision});
    }
  }
  for (auto const& range : dependencies.ranges) {
    auto const* known = base.find(range);
    if (known == nullptr) {
      continue;
    }
    if (known->reply.pairs.empty()) {
      compares.emplace_back(IsEmptyRange{.begin = range.begin, .end = range.end});
      continue;
    }
    // A part of a range proves only that these keys are there.
    if (!known->reply.more) {
      compares.emplace_back(
          IsRangeOf{.begin = range.begin, .end = range.end, .revision = known->revision});
    }
    for (auto const& pair : known->reply.pairs) {
      compares.emplace_back(IsRevision{.key = pair.key, .revision = pair.revision});
    }
  }
  for (auto const& [key, bounds] : dependencies.between) {
    compares.emplace_back(IsBetween{.key = key, .above = bounds.first, .below = bounds.second});
  }
  return compares;
}

// ---- View

bool View::written_before(std::string const& key) const {
  std::string_view value;
  return before_ != nullptr && before_->find(key, value) != Overlay::Fate::untouched;
}

std::optional<std::string_view> View::get(std::string const& key) {
  for (auto const* overlay : {static_cast<Overlay const*>(&own_), before_}) {
    std::string_view value;
    switch (overlay == nullptr ? Overlay::Fate::untouched : overlay->find(key, value)) {
      case Overlay::Fate::put: return value;
      case Overlay::Fate::erased: return std::nullopt;
      case Overlay::Fate::untouched: break;
    }
  }
  dependencies_.keys.insert(key);
  auto const* known = base_.find(key);
  if (known == nullptr) {
    if (std::ranges::find(missing_.keys, key) == missing_.keys.end()) {
      missing_.keys.push_back(key);
    }
    return std::nullopt;
  }
  unsure_ = unsure_ || known->source != Base::Source::read;
  return known->versioned.value ? std::optional<std::string_view>(*known->versioned.value)
                                : std::nullopt;
}

RangeReply const& View::scan(Range const& range) {
  if (before_ != nullptr && before_->touches(range.begin, range.end)) {
    postponed_ = true;
    return kNoPairs;
  }
  dependencies_.ranges.insert(range);
  auto const* known = base_.find(range);
  if (known == nullptr) {
    if (std::ranges::find(missing_.ranges, range) == missing_.ranges.end()) {
      missing_.ranges.push_back(range);
    }
    return kNoPairs;
  }
  unsure_ = unsure_ || known->source != Base::Source::read;
  return known->reply;
}

void View::suppose(std::string const& key, std::optional<std::string> value) {
  if (!written_before(key)) {
    base_.suppose(key, std::move(value));
  }
}

void View::suppose_empty(Range const& range) {
  base_.suppose_empty(range);
}

bool View::require_between(std::string const& key, std::string above, std::string below) {
  if (written_before(key)) {
    postponed_ = true;  // One transaction later it is known.
    return true;
  }
  auto const* known = base_.find(key);
  auto const holds = known == nullptr || (known->versioned.value && above < *known->versioned.value &&
                                          *known->versioned.value < below);
  unsure_ = unsure_ || (known != nullptr && known->source != Base::Source::read);
  dependencies_.between.insert_or_assign(key, std::pair(std::move(above), std::move(below)));
  return holds;
}

}  // namespace zest::meta::kv
