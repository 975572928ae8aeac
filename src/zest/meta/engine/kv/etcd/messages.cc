// Field numbers are those of etcd's public API.
#include "zest/meta/engine/kv/etcd/messages.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "zest/meta/engine/kv/etcd/proto.h"
#include "zest/meta/engine/node_fields.h"

namespace zest::meta::kv::etcd {

namespace {

enum CompareResult : std::uint8_t { kEqual = 0, kGreater = 1, kLess = 2 };
enum CompareTarget : std::uint8_t { kCreateRevision = 1, kModRevision = 2, kValue = 3 };

enum RangeField : std::uint8_t {
  kRangeKey = 1,
  kRangeEnd = 2,
  kRangeLimit = 3,
  kRangeRevision = 4,
  kRangeKeysOnly = 8
};
enum CompareField : std::uint8_t {
  kCompareResult = 1,
  kCompareTarget = 2,
  kCompareKey = 3,
  kCompareCreateRevision = 5,
  kCompareModRevision = 6,
  kCompareValue = 7,
  kCompareRangeEnd = 64
};
enum RequestField : std::uint8_t {
  kRequestRange = 1,
  kRequestPut = 2,
  kRequestDelete = 3,
  kRequestTxn = 4
};
enum TxnField : std::uint8_t { kTxnCompare = 1, kTxnSuccess = 2, kTxnFailure = 3 };

std::uint64_t unsigned_of(Revision revision) {
  return static_cast<std::uint64_t>(revision);
}

ProtoWriter range_request(std::string const& key, Range const* range, Revision at) {
  ProtoWriter request;
  request.bytes(kRangeKey, key);
  if (range != nullptr) {
    request.bytes(kRangeEnd, range->end).number(kRangeLimit, range->limit);
  }
  request.number(kRangeRevision, unsigned_of(at));
  if (range != nullptr && range->keys_only) {
    request.number(kRangeKeysOnly, 1);
  }
  return request;
}

void add_reads(ProtoWriter& txn, TxnField branch, Read const& read) {
  for (auto const& key : read.keys) {
    txn.message(branch, ProtoWriter().message(kRequestRange, range_request(key, nullptr, read.at)));
  }
  for (auto const& range : read.ranges) {
    txn.message(branch,
                ProtoWriter().message(kRequestRange, range_request(range.begin, &range, read.at)));
  }
}

ProtoWriter compare(std::string const& key, CompareResult result, CompareTarget target) {
  ProtoWriter writer;
  writer.number(kCompareResult, result).number(kCompareTarget, target).bytes(kCompareKey, key);
  return writer;
}

void add_compare(ProtoWriter& txn, Compare const& condition) {
  auto const add = [&txn](ProtoWriter const& writer) { txn.message(kTxnCompare, writer); };
  std::visit(
      Overloaded{
          [&](IsAbsent const& c) {
            add(compare(c.key, kEqual, kCreateRevision).chosen_number(kCompareCreateRevision, 0));
          },
          [&](IsRevision const& c) {
            add(compare(c.key, kEqual, kModRevision)
                    .chosen_number(kCompareModRevision, unsigned_of(c.revision)));
          },
          [&](IsValue const& c) {
            add(compare(c.key, kEqual, kValue).chosen_bytes(kCompareValue, c.value));
          },
          [&](IsBetween const& c) {
            add(compare(c.key, kGreater, kValue).chosen_bytes(kCompareValue, c.above));
            add(compare(c.key, kLess, kValue).chosen_bytes(kCompareValue, c.below));
          },
          // A comparison of a range holds when it holds for each of its keys; an empty range is
          // compared as one key that was never written.
          [&](IsEmptyRange const& c) {
            add(compare(c.begin, kEqual, kCreateRevision)
                    .chosen_number(kCompareCreateRevision, 0)
                    .bytes(kCompareRangeEnd, c.end));
          },
          [&](IsRangeOf const& c) {
            add(compare(c.begin, kLess, kModRevision)
                    .chosen_number(kCompareModRevision, unsigned_of(c.revision) + 1)
                    .bytes(kCompareRangeEnd, c.end));
          },
      },
      condition);
}

void add_write(ProtoWriter& txn, Write const& write) {
  auto const add = [&txn](RequestField kind, ProtoWriter const& request) {
    txn.message(kTxnSuccess, ProtoWriter().message(kind, request));
  };
  std::visit(Overloaded{
                 [&](PutPair const& w) {
                   add(kRequestPut, ProtoWriter().bytes(1, w.key).bytes(2, w.value));
                 },
                 [&](DeleteKey const& w) { add(kRequestDelete, ProtoWriter().bytes(1, w.key)); },
                 [&](DeleteRange const& w) {
                   add(kRequestDelete, ProtoWriter().bytes(1, w.begin).bytes(2, w.end));
                 },
             },
             write);
}

Error broken() {
  return Error::corrupt("etcd: a reply that is none of its protocol");
}

Result<Revision> decode_header(std::string_view message) {
  Revision revision = 0;
  ProtoReader header(message);
  while (header.next()) {
    if (header.field() == 3) {
      revision = static_cast<Revision>(header.number());
    }
  }
  return header.failed() || revision < 0 ? Result<Revision>(broken()) : revision;
}

Result<Pair> decode_pair(std::string_view message) {
  Pair pair;
  ProtoReader reader(message);
  while (reader.next()) {
    switch (reader.field()) {
      case 1: pair.key = reader.bytes(); break;
      case 3: pair.revision = static_cast<Revision>(reader.number()); break;
      case 5: pair.value = reader.bytes(); break;
      default: break;
    }
  }
  return reader.failed() || pair.revision <= 0 ? Result<Pair>(broken()) : std::move(pair);
}

Result<RangeReply> decode_range(std::string_view message) {
  RangeReply reply;
  ProtoReader reader(message);
  while (reader.next()) {
    if (reader.field() == 2) {
      ZEST_TRY(auto pair, decode_pair(reader.bytes()));
      reply.pairs.push_back(std::move(pair));
    } else if (reader.field() == 3) {
      reply.more = reader.number() != 0;
    }
  }
  return reader.failed() ? Result<RangeReply>(broken()) : std::move(reply);
}

struct TxnReply {
  bool succeeded = false;
  Revision revision = 0;
  std::vector<std::string_view> ranges;  ///< replies to ranges, in order
};

Result<TxnReply> decode_txn(std::string_view message) {
  TxnReply reply;
  ProtoReader reader(message);
  while (reader.next()) {
    if (reader.field() == 1) {
      ZEST_TRY(reply.revision, decode_header(reader.bytes()));
    } else if (reader.field() == 2) {
      reply.succeeded = reader.number() != 0;
    } else if (reader.field() == 3) {
      ProtoReader response(reader.bytes());
      while (response.next()) {
        if (response.field() == kRequestRange) {
          reply.ranges.push_back(response.bytes());
        }
      }
      if (response.failed()) {
        return broken();
      }
    }
  }
  if (reader.failed() || reply.revision == 0) {
    return broken();
  }
  return reply;
}

Result<ReadReply> decode_answers(Read const& asked, TxnReply const& reply) {
  if (reply.ranges.size() != asked.keys.size() + asked.ranges.size()) {
    return broken();
  }
  ReadReply answers;
  answers.revision = asked.at == 0 ? reply.revision : asked.at;
  for (std::size_t i = 0; i < reply.ranges.size(); ++i) {
    ZEST_TRY(auto range, decode_range(reply.ranges[i]));
    if (i >= asked.keys.size()) {
      answers.ranges.push_back(std::move(range));
    } else if (range.pairs.empty()) {
      answers.values.emplace_back();
    } else if (range.pairs.size() == 1 && range.pairs.front().key == asked.keys[i]) {
      answers.values.push_back({.value = std::move(range.pairs.front().value),
                                .revision = range.pairs.front().revision});
    } else {
      return broken();
    }
  }
  return answers;
}

}  // namespace

std::string encode_read(Read const& read) {
  ProtoWriter txn;
  add_reads(txn, kTxnSuccess, read);
  return txn.take();
}

std::string encode_transaction(Transaction const& transaction) {
  ProtoWriter txn;
  for (auto const& condition : transaction.compares) {
    add_compare(txn, condition);
  }
  std::span const writes(transaction.writes);
  if (writes.size() <= kWritesNested) {
    std::ranges::for_each(writes, [&txn](Write const& write) { add_write(txn, write); });
  } else {
    for (std::size_t i = 0; i < writes.size(); i += kWritesNested) {
      ProtoWriter nested;
      std::ranges::for_each(writes.subspan(i, std::min(kWritesNested, writes.size() - i)),
                            [&nested](Write const& write) { add_write(nested, write); });
      txn.message(kTxnSuccess, ProtoWriter().message(kRequestTxn, nested));
    }
  }
  add_reads(txn, kTxnFailure, transaction.otherwise);
  return txn.take();
}

std::string encode_authenticate(std::string_view user, std::string_view password) {
  return ProtoWriter().bytes(1, user).bytes(2, password).take();
}

Result<ReadReply> decode_read(Read const& asked, std::string_view message) {
  ZEST_TRY(auto const reply, decode_txn(message));
  return decode_answers(asked, reply);
}

Result<TransactionReply> decode_transaction(Transaction const& asked, std::string_view message) {
  ZEST_TRY(auto const reply, decode_txn(message));
  TransactionReply answer{.applied = reply.succeeded, .revision = reply.revision, .current = {}};
  if (!answer.applied) {
    ZEST_TRY(answer.current, decode_answers(asked.otherwise, reply));
  }
  return answer;
}

Result<std::string> decode_authenticate(std::string_view message) {
  std::string token;
  ProtoReader reader(message);
  while (reader.next()) {
    if (reader.field() == 2) {
      token = reader.bytes();
    }
  }
  return reader.failed() || token.empty() ? Result<std::string>(broken()) : std::move(token);
}

}  // namespace zest::meta::kv::etcd
