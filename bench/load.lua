-- One connection's requests for wrk: `wrk ... -s load.lua URL -- OPERATION KEYS BYTES SEED FIRST [CERTIFICATE KEY]`.
--
-- The key is random among KEYS at each request and so is the start of the value, BYTES long; or, with FIRST above 0,
-- one key after the other from that number on, 1 being the first. CERTIFICATE and KEY are presented to the server.

local FORM, JSON = "application/x-www-form-urlencoded", "application/json"
-- Nine bytes, so that in base64 the nine digits behind it stand by themselves, three to four characters.
local PREFIX64 = "L2JlbmNoMy8t" -- "/bench3/-"
local BATCH = 100

local keys, pad, count, random = 0, "", 0, math.random
local groups = {} -- the base64 of "000" to "999"

local function base64(a, b, c)
  local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  local n, found = a * 65536 + b * 256 + c, ""
  for shift = 3, 0, -1 do
    local digit = math.floor(n / 64 ^ shift) % 64 + 1
    found = found .. alphabet:sub(digit, digit)
  end
  return found
end

-- Sixteen digits that no answer repeats, then what is the same each time: a server may not profit from that.
local function value() return string.format("%08d%08d", random(0, 99999999), random(0, 99999999)) .. pad end

local function path(number) return string.format("/v2/keys/bench/%09d", number) end

local function key64(number)
  local thousands = math.floor(number / 1000)
  return PREFIX64 .. groups[math.floor(thousands / 1000)] .. groups[thousands % 1000] .. groups[number % 1000]
end

local function put2(number) return wrk.format("PUT", path(number), nil, "value=" .. value()) end

local function get2(number) return wrk.format("GET", path(number)) end

local function quorum2(number) return wrk.format("GET", path(number) .. "?quorum=true") end

local function mixed2(number) return random(10) == 1 and put2(number) or get2(number) end

local function put3(number)
  return wrk.format("POST", "/v3/kv/put", nil, '{"key":"' .. key64(number) .. '","value":"' .. value() .. '"}')
end

local function range3(number, more)
  return wrk.format("POST", "/v3/kv/range", nil, '{"key":"' .. key64(number) .. '"' .. (more or "") .. "}")
end

local function local3(number) return range3(number, ',"serializable":true') end

-- Ten keys: those that differ in the last digit alone.
local function ten3(number)
  number = number - number % 10
  return range3(number, ',"range_end":"' .. key64((number + 10) % 1000000000) .. '"')
end

local function mixed3(number) return random(10) == 1 and put3(number) or range3(number) end

-- No key twice: etcd refuses that.
local function batch3(number)
  local puts = {}
  for place = 1, BATCH do
    local key = key64((number + place - 1) % keys)
    puts[place] = '{"request_put":{"key":"' .. key .. '","value":"' .. value() .. '"}}'
  end
  return wrk.format("POST", "/v3/kv/txn", nil, '{"success":[' .. table.concat(puts, ",") .. "]}")
end

-- Compares, puts and reads one key.
local function txn3(number)
  local key = '{"key":"' .. key64(number) .. '"'
  local compare = key .. ',"target":"VERSION","result":"GREATER","version":"0"}'
  local put = '{"request_put":' .. key .. ',"value":"' .. value() .. '"}}'
  local range = '{"request_range":' .. key .. "}}"
  local body = '{"compare":[%s],"success":[%s,%s],"failure":[%s]}'
  return wrk.format("POST", "/v3/kv/txn", nil, body:format(compare, put, range, range))
end

local function renew3(number)
  return wrk.format("POST", "/v3/lease/keepalive", nil, '{"ID":"' .. 1 + number % BATCH .. '"}')
end

local operations = {
  put2 = put2, get2 = get2, quorum2 = quorum2, mixed2 = mixed2, put3 = put3, range3 = range3, local3 = local3,
  ten3 = ten3, mixed3 = mixed3, batch3 = batch3, txn3 = txn3, renew3 = renew3,
}
local operation, step

-- wrk has no option for a client certificate. OpenSSL, which it is linked with, calls back whenever a connection is
-- made, and there the certificate is given to it.
local function present(certificate, key)
  local ffi = require("ffi")
  ffi.cdef [[
    typedef void (*created)(void *ssl, void *pointer, void *data, int index, long number, void *argument);
    int CRYPTO_get_ex_new_index(int class, long number, void *argument, created new, void *copy, void *free);
    int SSL_use_certificate_chain_file(void *ssl, const char *file);
    int SSL_use_PrivateKey_file(void *ssl, const char *file, int type);
  ]]
  local SSL, PEM = 0, 1
  present_to = ffi.cast("created", function(ssl) -- global, or it would be collected
    if ffi.C.SSL_use_certificate_chain_file(ssl, certificate) ~= 1 or ffi.C.SSL_use_PrivateKey_file(ssl, key, PEM) ~= 1 then
      io.stderr:write("the client certificate was not taken\n")
      os.exit(1)
    end
  end)
  ffi.C.CRYPTO_get_ex_new_index(SSL, 0, nil, present_to, nil, nil)
end

function init(args)
  operation, keys, count = operations[args[1]], tonumber(args[2]), tonumber(args[5]) - 1
  step = args[1] == "batch3" and BATCH or 1
  math.randomseed(tonumber(args[4]))
  wrk.headers["Content-Type"] = args[1]:sub(-1) == "2" and FORM or JSON
  for number = 0, 999 do
    groups[number] = base64(string.format("%03d", number):byte(1, 3))
  end
  -- In v3 a value is base64: digits are, four for three bytes.
  local bytes = tonumber(args[3])
  local length = args[1]:sub(-1) == "2" and bytes or math.ceil(bytes / 3) * 4
  local digits = {}
  for place = 1, length - 16 do
    digits[place] = random(0, 9)
  end
  pad = table.concat(digits)
  if args[7] then present(args[6], args[7]) end
end

function request()
  if count < 0 then return operation(random(0, keys - 1)) end
  local number = count % keys
  count = count + step
  return operation(number)
end

function done(summary, latency)
  local e = summary.errors
  io.stderr:write(string.format(
    '{"requests":%d,"microseconds":%d,"broken":%d,"refused":%d,"p50_us":%d,"p99_us":%d,"p999_us":%d}\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
