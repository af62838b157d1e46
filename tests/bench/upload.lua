-- What wrk sends in the scenario h1-upload-1m: one megabyte, made once.

wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("x", 1000000)
