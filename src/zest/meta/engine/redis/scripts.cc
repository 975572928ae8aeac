// Numbers: Lua 5.1 has doubles only, so what may exceed 2^53 (inodes of the trash, lengths) is
// handled as two 32-bit halves or as decimal text, never as one number. Strings are compared for
// equality only:
// `<` follows the server's locale.
#include "zest/meta/engine/redis/scripts.h"

#include <string>

namespace zest::meta::redis {

namespace {

/// The inode of an entry's nine bytes in decimal.
constexpr std::string_view kDecimal = R"lua(
local function inode(e)
  local h, l = struct.unpack('>I4I4', e, 2)
  if h < 1048576 then return string.format('%.0f', h * 4294967296 + l) end
  local w = {math.floor(h / 65536), h % 65536, math.floor(l / 65536), l % 65536}
  local out, any = '', 1
  while any > 0 do
    local rem = 0
    any = 0
    for j = 1, 4 do
      local x = rem * 65536 + w[j]
      w[j] = math.floor(x / 10000)
      rem = x % 10000
      any = any + w[j]
    end
    out = string.format(any > 0 and '%04d' or '%d', rem) .. out
  end
  return out
end
)lua";

/// Offsets of a node's fields are those of format/01 §1, counted from 1.
constexpr std::string_view kCommit = R"lua(
local call, sub, byte, argv = redis.call, string.sub, string.byte, ARGV
local spack, sunpack = struct.pack, struct.unpack
local node = {}
local i, n, cond = 1, #argv, 0

local function load(k)
  local a = call('GET', k)
  if a and #a < 71 then
    if #a < 63 then error({short = k}) end
    a = sub(a, 1, 63) .. '\0\0\0\0\0\0\0\0' .. sub(a, 64)
  end
  node[k] = a
  return a
end
local function tail(a)
  local acl, p = '\0\0\0\0\0\0\0\0', 72
  if #a >= 79 then acl, p = sub(a, 72, 79), 80 end
  local t = sub(a, p, p)
  if t == '' then t = '\0' end
  return acl, t
end
local function with_tail(a, acl, t)
  a = sub(a, 1, 71)
  if acl ~= '\0\0\0\0\0\0\0\0' then a = a .. acl end
  if t ~= '\0' then a = a .. t end
  return a .. '\0'
end
local function raise(old, v)
  local oh, ol, on = sunpack('>I4I4I4', old)
  local vh, vl, vn = sunpack('>I4I4I4', v)
  if oh >= 2147483648 then oh = oh - 4294967296 end
  if vh >= 2147483648 then vh = vh - 4294967296 end
  local d = (oh - vh) * 4294967296 + (ol - vl)
  if d < 0 or d > 1 or (d == 0 and on < vn) or (d == 1 and on >= vn) then return v end
  if on ~= 999999999 then return sub(old, 1, 8) .. spack('>I4', on + 1) end
  ol = ol + 1
  if ol == 4294967296 then ol, oh = 0, oh + 1 end
  return spack('>I4I4I4', oh % 4294967296, ol, 0)
end
local function same(a, f, v)
  if f == 'm' then return (byte(a, 2) % 16) * 256 + byte(a, 3) == v + 0 end
  if f == 't' then return math.floor(byte(a, 2) / 16) == v + 0 end
  if f == 'A' then return sub((tail(a)), 1, 4) == v end
  if f == 'D' then return sub((tail(a)), 5, 8) == v end
  if f == 'T' then
    local _, t = tail(a)
    return t == v
  end
  return sub(a, f, f + #v - 1) == v
end
local function patch(a, f, v)
  if f == 'B' then
    return sub(a, 1, 23) .. raise(sub(a, 24, 35), v) .. raise(sub(a, 36, 47), v) .. sub(a, 48)
  end
  if f == 'M' then return sub(a, 1, 23) .. raise(sub(a, 24, 35), v) .. sub(a, 36) end
  if f == 'C' then return sub(a, 1, 35) .. raise(sub(a, 36, 47), v) .. sub(a, 48) end
  if f == 'n' then
    local x = math.max(0, math.min(4294967295, sunpack('>I4', a, 48) + v))
    return sub(a, 1, 47) .. spack('>I4', x) .. sub(a, 52)
  end
  if f == 'g' then
    local h, l = sunpack('>I4I4', a, 52)
    local vh, vl = sunpack('>I4I4', v)
    if vh > h or (vh == h and vl > l) then return sub(a, 1, 51) .. v .. sub(a, 60) end
    return a
  end
  if f == 'm' then
    local t, m = math.floor(byte(a, 2) / 16), v + 0
    return sub(a, 1, 1) .. string.char(t * 16 + math.floor(m / 256), m % 256) .. sub(a, 4)
  end
  if f == 't' then
    return sub(a, 1, 1) .. string.char(v * 16 + byte(a, 2) % 16) .. sub(a, 3)
  end
  if f == 'A' or f == 'D' or f == 'T' then
    local acl, t = tail(a)
    if f == 'A' then acl = v .. sub(acl, 5) end
    if f == 'D' then acl = sub(acl, 1, 4) .. v end
    if f == 'T' then t = v end
    return with_tail(a, acl, t)
  end
  return sub(a, 1, f - 1) .. v .. sub(a, f + #v)
end
local function holds(op)
  if op == 'N' then
    local k, c = argv[i + 1], argv[i + 2] + 0
    local a = node[k]
    if a == nil then a = load(k) end
    i = i + 3
    if not a then return false end
    for _ = 1, c do
      if not same(a, argv[i], argv[i + 1]) then return false end
      i = i + 2
    end
    return true
  end
  if op == '?' then
    local c = argv[i + 1]
    local r = call(unpack(argv, i + 2, i + 1 + c))
    i = i + 2 + c
    return not r
  end
  if op == '=' or op == '#' then
    local v, c = argv[i + 1], argv[i + 2]
    local r = call(unpack(argv, i + 3, i + 2 + c))
    i = i + 3 + c
    if op == '=' then return r == v end
    return r and tonumber(r) == tonumber(v)
  end
  if op == 'L' then
    local r = table.concat(call('LRANGE', argv[i + 1], 0, argv[i + 2]))
    i = i + 4
    return r == argv[i - 1]
  end
  local k, c = argv[i + 1], argv[i + 2] + 0
  local first = i + 3
  i = first + 2 * c
  if op == 'S' then
    if call('HLEN', k) ~= c then return false end
    for j = first, i - 2, 2 do
      if call('HGET', k, argv[j]) ~= argv[j + 1] then return false end
    end
    return true
  end
  local seen, all = {}, call('HGETALL', k)
  for j = 1, #all, 2 do
    if tonumber(all[j + 1]) and tonumber(all[j + 1]) > 0 then
      seen[all[j]] = all[j + 1]
      c = c - 1
    end
  end
  if c ~= 0 then return false end
  for j = first, i - 2, 2 do
    if seen[argv[j]] ~= argv[j + 1] then return false end
  end
  return true
end
local function apply(op)
  if op == 'C' then
    local c = argv[i + 1]
    call(unpack(argv, i + 2, i + 1 + c))
    i = i + 2 + c
  elseif op == 'U' then
    local k, c = argv[i + 1], argv[i + 2] + 0
    local a = node[k]
    i = i + 3
    for _ = 1, c do
      a = patch(a, argv[i], argv[i + 1])
      i = i + 2
    end
    node[k] = a
    call('SET', k, a)
  elseif op == 'p' then
    if call('HINCRBY', argv[i + 1], argv[i + 2], argv[i + 3]) <= 0 then
      call('HDEL', argv[i + 1], argv[i + 2])
    end
    i = i + 4
  elseif op == 'r' then
    if call('HINCRBY', argv[i + 1], argv[i + 2], argv[i + 3]) == 0 then
      call('HDEL', argv[i + 1], argv[i + 2])
    end
    i = i + 4
  elseif op == 'e' then
    if call('HEXISTS', argv[i + 1], argv[i + 2]) == 1 then
      call('HSET', argv[i + 1], argv[i + 2], argv[i + 3])
    end
    i = i + 4
  else
    local k, p, more = argv[i + 1], argv[i + 3], false
    call('HDEL', k, argv[i + 2])
    for _, f in ipairs(call('HKEYS', k)) do
      if sub(f, 1, #p) == p then more = true end
    end
    if not more then call('SREM', argv[i + 4], k) end
    i = i + 5
  end
end

if argv[1] == 'F' then
  local score = call('ZSCORE', argv[2], argv[4])
  if not score or tonumber(score) <= 0 or call('HEXISTS', argv[3], argv[4]) == 0 then return -1 end
  i = 5
end
local function check()
  while argv[i] ~= '.' do
    cond = cond + 1
    if not holds(argv[i]) then return cond end
  end
  return 0
end
-- Damage shows while conditions are checked, before anything is changed.
local ok, r = pcall(check)
if not ok then
  if type(r) ~= 'table' then return redis.error_reply(r) end
  if r.short then
    return redis.error_reply('CORRUPT key ' .. r.short .. ': an inode record of fewer than 63 bytes')
  end
  return r
end
if r > 0 then return r end
i = i + 1
while i <= n do apply(argv[i]) end
return 0
)lua";

constexpr std::string_view kFetch = R"lua(
local call, argv, r = redis.call, ARGV, {}
local i, n = 1, #argv
while i <= n do
  local c = argv[i]
  if c == 'C' then
    local e = call('HGET', argv[i + 1], argv[i + 2])
    if e and #e == 9 then
      e = {e, call('GET', argv[i + 3] .. inode(e))}
    elseif e then
      e = {e}
    end
    r[#r + 1] = e
    i = i + 4
  else
    r[#r + 1] = call(unpack(argv, i + 1, i + c))
    i = i + 1 + c
  end
end
return r
)lua";

constexpr std::string_view kListDir = R"lua(
local cursor, wanted, step, attrs, prefix = ARGV[1], ARGV[2] + 0, ARGV[3], ARGV[4] == '1', ARGV[5]
local out, got = {}, 0
repeat
  local r = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', step)
  local found, nodes = r[2], {}
  cursor = r[1]
  got = got + #found / 2
  if attrs then
    local keys = {}
    for j = 2, #found, 2 do
      keys[#keys + 1] = prefix .. (#found[j] == 9 and inode(found[j]) or '0')
    end
    for j = 1, #keys, 1000 do
      for _, a in ipairs(redis.call('MGET', unpack(keys, j, math.min(j + 999, #keys)))) do
        nodes[#nodes + 1] = a
      end
    end
  end
  out[#out + 1] = {cursor, found, nodes}
until cursor == '0' or got >= wanted
return out
)lua";

constexpr std::string_view kListChunks = R"lua(
local first, last, limit, prefix = ARGV[1] + 0, ARGV[2] + 0, ARGV[3] + 0, ARGV[4]
local out, found = {}, 0
local index = first
while index < last and found < limit do
  local key = prefix .. string.format('%.0f', index)
  local slices = redis.call('LRANGE', key, 0, -1)
  if #slices > 0 then
    out[#out + 1] = string.format('%.0f', index)
    out[#out + 1] = table.concat(slices)
    found = found + 1
  end
  index = index + 1
end
return {string.format('%.0f', index), out}
)lua";

constexpr std::string_view kListLocked = R"lua(
local out, p = {}, ARGV[1]
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local fields = redis.pcall('HKEYS', key)
  if not fields.err then
    for _, f in ipairs(fields) do
      if string.sub(f, 1, #p) == p then
        out[#out + 1] = key
        break
      end
    end
  end
end
return out
)lua";

constexpr std::string_view kAddDirStats = R"lua(
local missing = {}
for i = 1, #ARGV, 4 do
  if redis.call('HEXISTS', KEYS[2], ARGV[i]) == 1 then
    for j = 1, 3 do redis.call('HINCRBY', KEYS[j], ARGV[i], ARGV[i + j]) end
  else
    missing[#missing + 1] = ARGV[i]
  end
end
return missing
)lua";

constexpr std::string_view kAddQuotaUsage = R"lua(
for i = 2, #ARGV, 4 do
  local t, id = ARGV[i] * 3, ARGV[i + 1]
  if ARGV[i] ~= '0' then redis.call('HSETNX', KEYS[t + 1], id, ARGV[1]) end
  if redis.call('HEXISTS', KEYS[t + 1], id) == 1 then
    redis.call('HINCRBY', KEYS[t + 2], id, ARGV[i + 2])
    redis.call('HINCRBY', KEYS[t + 3], id, ARGV[i + 3])
  end
end
return 0
)lua";

constexpr std::string_view kSetQuota = R"lua(
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[3])
redis.call('HSETNX', KEYS[3], ARGV[1], ARGV[4])
return 0
)lua";

constexpr std::string_view kInsertAcl = R"lua(
local id = redis.call('INCR', KEYS[1])
redis.call('HSET', KEYS[2], id, ARGV[1])
return id
)lua";

constexpr std::string_view kTakeLease = R"lua(
local last = redis.call('GET', KEYS[1])
if last and (tonumber(last) or 0) > ARGV[1] - ARGV[2] then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
)lua";

constexpr std::string_view kInitialize = R"lua(
if ARGV[3] ~= '' then redis.call('SETNX', KEYS[3], ARGV[3]) end
if redis.call('EXISTS', KEYS[1]) == 0 then redis.call('SET', KEYS[2], ARGV[2]) end
redis.call('SET', KEYS[1], ARGV[1])
return 0
)lua";

constexpr std::string_view kAddUsage = R"lua(
for i = 1, #KEYS do redis.call('INCRBY', KEYS[i], ARGV[i]) end
return 0
)lua";

std::string with_decimal(std::string_view body) {
  return std::string(kDecimal).append(body);
}

}  // namespace

Scripts::Scripts()
    : commit(make_script(std::string(kCommit))),
      fetch(make_script(with_decimal(kFetch))),
      list_dir(make_script(with_decimal(kListDir))),
      list_chunks(make_script(std::string(kListChunks))),
      list_locked(make_script(std::string(kListLocked))),
      add_dir_stats(make_script(std::string(kAddDirStats))),
      add_quota_usage(make_script(std::string(kAddQuotaUsage))),
      set_quota(make_script(std::string(kSetQuota))),
      insert_acl(make_script(std::string(kInsertAcl))),
      take_lease(make_script(std::string(kTakeLease))),
      initialize(make_script(std::string(kInitialize))),
      add_usage(make_script(std::string(kAddUsage))) {}

std::vector<std::string_view> Scripts::texts() const {
  std::vector<std::string_view> texts;
  for (auto const* script :
       {&commit, &fetch, &list_dir, &list_chunks, &list_locked, &add_dir_stats, &add_quota_usage,
        &set_quota, &insert_acl, &take_lease, &initialize, &add_usage}) {
    texts.push_back(script->text);
  }
  return texts;
}

}  // namespace zest::meta::redis
