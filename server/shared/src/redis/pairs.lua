-- Key-value pairs of one site, as `pairs.rs` keeps them in memory: the same answers, in the same order.
--
-- KEYS  1 values: name -> value            2 order: name by the number that it was made with
--       3 uses: name by its last use       4 ends: name by when it expires, in microseconds since 1970
--       5 sums: `next` (the last number given), `bytes`
-- ARGV  1 operation   2 now in microseconds; empty: by this server's clock   3 most bytes   4 most pairs
--       5 bytes that a pair needs beside key and value   6 bucket, framed so that none begins another   7 key
--       8 and on: of the operation
-- A name is the framed bucket with the key behind it.
local values, order, uses, ends, sums = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local operation, most_bytes, most_pairs, overhead = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local bucket, key = ARGV[6], ARGV[7]
local name = bucket .. key
-- Removals of one call: nobody else is served meanwhile. Values are short enough that no call needs more, unless the
-- bounds have become lower.
local REMOVALS, EXPIRED = 4096, 8

local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function turn()
  return redis.call('HINCRBY', sums, 'next', 1)
end

-- Bytes of the framed bucket that a name begins with: a letter, the bucket's length, a colon, the bucket.
local function frame(of)
  local digits = of:match('^%a(%d+):')
  return 2 + #digits + tonumber(digits)
end

local function weight(of, length)
  return #of - frame(of) + length + overhead
end

local function remove(which)
  local length = redis.call('HSTRLEN', values, which)
  if redis.call('HDEL', values, which) == 0 then return end
  redis.call('ZREM', order, which)
  redis.call('ZREM', uses, which)
  redis.call('ZREM', ends, which)
  redis.call('HINCRBY', sums, 'bytes', -weight(which, length))
end

local function expired()
  return redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 1)[1]
end

local function make_room()
  for _ = 1, REMOVALS do
    local bytes = tonumber(redis.call('HGET', sums, 'bytes') or 0)
    if bytes <= most_bytes and redis.call('ZCARD', order) <= most_pairs then return end
    local first = expired() or redis.call('ZRANGE', uses, 0, 0)[1]
    if not first then return end
    remove(first)
  end
end

-- Where every pair ends, so does all that is kept of the site: nothing is left of one that nobody asks for any more.
local function set_end()
  local last
  if redis.call('ZCARD', ends) == redis.call('ZCARD', order) then
    last = redis.call('ZRANGE', ends, -1, -1, 'WITHSCORES')[2]
  end
  for _, each in ipairs(KEYS) do
    if last then
      redis.call('PEXPIREAT', each, string.format('%.0f', math.ceil(last / 1000) + 1000))
    else
      redis.call('PERSIST', each)
    end
  end
end

local function has_room(value)
  return #key + #value + overhead <= most_bytes and most_pairs > 0
end

-- The value, unless it has expired; that counts as a use.
local function get()
  local value = redis.call('HGET', values, name)
  if not value then return false end
  local expires = redis.call('ZSCORE', ends, name)
  if expires and tonumber(expires) <= now then
    remove(name)
    return false
  end
  redis.call('ZADD', uses, turn(), name)
  return value
end

local function set(value, time_to_live)
  if not has_room(value) then return { 'room' } end
  remove(name)
  local number = turn()
  redis.call('HSET', values, name, value)
  redis.call('ZADD', order, number, name)
  redis.call('ZADD', uses, number, name)
  if time_to_live then redis.call('ZADD', ends, now + time_to_live, name) end
  redis.call('HINCRBY', sums, 'bytes', weight(name, #value))
  make_room()
  for _ = 1, EXPIRED do
    local first = expired()
    if not first then break end
    remove(first)
  end
  set_end()
  return { 'done' }
end

-- Numbers of 64 bits are more than this language's hold: they are added in two halves of ten digits.
local MOST = '18446744073709551615'

local function halves(digits)
  local long = string.rep('0', 20 - #digits) .. digits
  return tonumber(long:sub(1, 10)), tonumber(long:sub(11))
end

local function sum(a, b)
  local a_high, a_low = halves(a)
  local b_high, b_low = halves(b)
  local low = a_low + b_low
  local carry = low >= 1e10 and 1 or 0
  local high = a_high + b_high + carry
  low = low - carry * 1e10
  if high >= 1e10 then return nil end
  local digits = string.format('%010.0f%010.0f', high, low)
  if digits > MOST then return nil end
  digits = digits:gsub('^0+', '')
  return digits == '' and '0' or digits
end

local function number(value)
  local digits = value:match('^%+?(%d+)$')
  if not digits then return nil end
  digits = digits:gsub('^0+', '')
  if #digits > 20 or (#digits == 20 and digits > MOST) then return nil end
  return digits
end

local function increment(delta, time_to_live)
  local value = get()
  if not value then
    local made = set(delta, time_to_live)
    return made[1] == 'done' and { 'done', delta } or made
  end
  local counted = number(value)
  if not counted then return { 'number' } end
  local total = sum(counted, delta)
  if not total then return { 'overflow' } end
  if not has_room(total) then return { 'room' } end
  redis.call('HSET', values, name, total)
  redis.call('HINCRBY', sums, 'bytes', #total - #value)
  make_room()
  return { 'done', total }
end

local function keys(cursor, most_keys, most_key_bytes, most_looks)
  local found, bytes, looked = {}, 0, 0
  local names = redis.call('ZRANGEBYSCORE', order, cursor, '+inf', 'WITHSCORES', 'LIMIT', 0, most_looks + 1)
  for at = 1, #names, 2 do
    if looked == most_looks or #found == most_keys or bytes >= most_key_bytes then
      return { 'done', names[at + 1], found }
    end
    looked = looked + 1
    local each = names[at]
    if each:sub(1, #bucket) == bucket then
      local expires = redis.call('ZSCORE', ends, each)
      if not expires or tonumber(expires) > now then
        bytes = bytes + #each - #bucket
        found[#found + 1] = each:sub(#bucket + 1)
      end
    end
  end
  return { 'done', '', found }
end

if operation == 'get' then
  local value = get()
  return value and { 'done', value } or { 'done' }
elseif operation == 'exists' then
  return get() and { 'done', '' } or { 'done' }
elseif operation == 'set' then
  return set(ARGV[8], tonumber(ARGV[9]))
elseif operation == 'delete' then
  remove(name)
  return { 'done' }
elseif operation == 'increment' then
  return increment(ARGV[8], tonumber(ARGV[9]))
elseif operation == 'keys' then
  return keys(ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]))
end
return redis.error_reply('ERR unknown operation')
