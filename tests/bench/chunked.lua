-- What wrk sends when `cargo xtask release` trains uploads in chunks, whose length no field tells.
-- Sizes go round: a form, an empty body, some kilobytes in several chunks, one with an extension and a trailer.

local function chunk(size)
  return string.format("%x\r\n%s\r\n", size, string.rep("x", size))
end

local bodies = {
  chunk(200) .. "0\r\n\r\n",
  "0\r\n\r\n",
  string.rep(chunk(4000), 5) .. "0\r\n\r\n",
  "5;note=1\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n",
}

local next_body = 0

request = function()
  next_body = next_body % #bodies + 1
  return "POST /uploads/chunked HTTP/1.1\r\n"
    .. "Host: api.example.com\r\n"
    .. "Content-Type: application/octet-stream\r\n"
    .. "Transfer-Encoding: chunked\r\n\r\n"
    .. bodies[next_body]
end
