-- Asks vestibule about a request: on with the key that it gives, else back to the client with its answer.
-- For HAProxy 2.6 or later. haproxy.cfg loads it; the names of headers are those of `forward_auth` in vestibule.yaml.

local URL = "http://vestibule/vestibule/auth/haproxy"
local VIA = "abns@vestibule-ask" -- the frontend of that name: it bounds the wait
local PROOF = "x-vestibule-proof"

if (os.getenv("VESTIBULE_PROOF") or "") == "" then
  error("VESTIBULE_PROOF is not set: HAProxy has nothing to show vestibule")
end

-- What belongs to one connection, and what is told below.
local KEPT_BACK = {
  ["connection"] = true, ["keep-alive"] = true, ["proxy-connection"] = true, ["te"] = true, ["trailer"] = true,
  ["transfer-encoding"] = true, ["upgrade"] = true, ["content-length"] = true, ["expect"] = true,
  ["x-forwarded-uri"] = true, ["x-forwarded-method"] = true,
}

-- What of a refusal is for the client.
local PASSED_ON = {
  ["content-type"] = true, ["cache-control"] = true, ["location"] = true, ["retry-after"] = true,
  ["www-authenticate"] = true, ["x-vestibule-refusal"] = true, ["content-security-policy"] = true,
  ["x-content-type-options"] = true, ["referrer-policy"] = true, ["x-frame-options"] = true,
}

-- The value of a header that is there once and says something.
local function only(headers, name)
  local values = headers[name]
  if values and values[0] and values[0] ~= "" and not values[1] then return values[0] end
end

local function reply(txn, status, headers, body)
  local answer = txn:reply{status = status, body = body or ""}
  for name, values in pairs(headers) do
    if PASSED_ON[name] then
      for _, value in pairs(values) do answer:add_header(name, value) end
    end
  end
  txn:done(answer)
end

core.register_action("ask_vestibule", {"http-req"}, function(txn)
  local headers = {}
  for name, values in pairs(txn.http:req_get_headers()) do
    if not KEPT_BACK[name] then headers[name] = values end
  end
  headers["x-forwarded-method"] = {[0] = txn.sf:method()}
  headers["x-forwarded-uri"] = {[0] = txn.sf:pathq()}

  local asked, answer = pcall(function()
    return core.httpclient():get{url = URL, dst = VIA, headers = headers, timeout = 10000}
  end)
  if not asked or not answer or not answer.status or answer.status == 0 then
    return reply(txn, 503, {})
  end
  if answer.status == 200 then
    local key = only(answer.headers, "x-litellm-api-key")
    local authorization = only(answer.headers, "authorization")
    if key and authorization then
      txn:set_var("txn.vestibule_key", key)
      txn:set_var("txn.vestibule_authorization", authorization)
      return
    end
    return reply(txn, 503, {})
  end
  -- Another 2xx, or what is no status of an answer, is no yes.
  local status = answer.status
  if status < 300 or status > 599 then status = 503 end
  reply(txn, status, answer.headers, answer.body)
end)
