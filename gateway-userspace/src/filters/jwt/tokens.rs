//! Tokens and keys for tests: signed once by OpenSSL, good until 2100, by keys that nobody has any more.

/// The public keys: of EdDSA, ES256 and RS256.
pub(crate) const KEYS: &str = r#"{
 "keys": [
  {
   "kty": "OKP",
   "crv": "Ed25519",
   "kid": "ed",
   "use": "sig",
   "alg": "EdDSA",
   "x": "WQzWPJZOYF4ai1fIpcqUvymQzIWHaDjNmceit7Vo5oI"
  },
  {
   "kty": "EC",
   "crv": "P-256",
   "kid": "ec",
   "use": "sig",
   "alg": "ES256",
   "x": "HCLIVa8Fy89Hq3rs8YuqYmYwvqQEqZLGLjcKyNWBNOk",
   "y": "rxxz57jueKoxt_P7mMzNjWKUIYmcVRdjGVPTXDMDCYM"
  },
  {
   "kty": "RSA",
   "kid": "rsa",
   "use": "sig",
   "n": "sTblOs48PnnkuE5JhACGi6tjlzu50trNN4oiRrVAz6r_UKAgZUazwBGQcY3dQlFzFHg1lyid852xKNeOszVf7PwLcyIDcaHiinyCJB3pvMTPnaAxAjz7zwzfwoDJmk5ZsqTlgyrpuJpvRxleTFTLPPrD89dSCfOpkyBvSK0DnBegUb07uJz858XN26USO66TDWPfFDR7tproA56CFESabWWoJM2lENms195x0ey_SHuph-UXs98HnhyeFBsOkLbcwsjvXxQc07W7jKKf5wtto-E_Z4Hq6-hcthCrua37MtyrcPMM94__S_AltlqiPQ-zYHH4Ckawfu6G1YkdT67yjQ",
   "e": "AQAB"
  }
 ]
}"#;

/// By EdDSA, with everything that is wanted.
pub(crate) const ED: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.Eabh98UHWB6RD62Zw3RjlYnHFjqe1lp-l7ERAUEo8rKdcpfhFk2ASSIBFaw5ckghVGOq1SImdV2GS4hoGPoHBQ";
/// The same by ES256.
pub(crate) const EC: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImVjIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.Dk5egPwi2rnD9pqukIDE6GO4YZ1N0vG9hXujVOOUnmFyEGZtWB1E4Ef_kqg0aZs2L9_yZPXi_X44J6yH9ErxBQ";
/// The same by RS256.
pub(crate) const RSA: &str = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.nugE5-eGgFRu66C4t-Md6wwhy0-DeMGW6r96JFghgb_Qm-5Gfhk-E1z2ZWA4hiLVp8pJZQK54_YETFSgO7FidKQ-vpJkEtyvqtfHHF20lVXVHXiWs_1ttWac8Kg0Go03c-kMsqVUNtT1iU_HYn9gG_tBYYRA-BKjveWUMHQz9Bi02U5icKSbHRAIzpIeFERpn2m_sd8LkZAyYjRYqV-DPuWGxXpppA-XrxvWYSHoK69Dd3_vHW_ecqduy1lCAibsdTnYyVMawQ8IqK-5fB64rayhXfzZqGns5MkslGAlRIMGwImoeqSwiBSlyfJoX01lFbP4evj0otLF0UM_jvnShQ";
/// It does not say which key.
pub(crate) const NO_KID: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.qvTpVRFAjgrlc_Ofo8Uk62px8eLzUJqNsJUvj7xZzl8l2dxbav3kky2SaNSdDqx2CRL0QPXb74UOZkDcQd6YCg";
/// Since 2020.
pub(crate) const EXPIRED: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjE1Nzc4MzY4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.XNMEWEW4HH168ltLa5yAejJ5K7ff1Xtas7VM2mR7wKubwbrN6WnHCvCglPHLx9e4FOnLyrDzdKo2ulBAvz6NCA";
/// Good from 2099 on.
pub(crate) const NOT_YET: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiIsIm5iZiI6NDEwMjQ0NDcwMH0.kfKkvxhLPZfhU6vcAySlFYGlQmZAg4_BX3j9v0tfxzWL8nJs6lQpgYpn1y5B8mJiKawbou2MC7fiQi6xMbNLCw";
/// For ever.
pub(crate) const NO_EXP: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJyb2xlcyI6WyJhIiwiYiJdLCJhZ2UiOjcsImFkbWluIjp0cnVlLCJuYW1lIjoiSlx1MDBmY3JnZW4ifQ.Ie5TkQthXPPrWpNqoNCaqN_Qau9CQ5kt1ECsxXb1GJizUsU_XcuXqc8dR3XRWEfuVaxWy4nbk_WSjnsxCM_zDg";
/// Of nobody.
pub(crate) const NO_ISS: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.en1icIK5LfLyQzbx_igUb-kfxkxJrZqr5E5dgY6xSr2ZhS6KLwuDKzOL6Ig3r3NdktlPSHU0gPjmS6bz4nkUCg";
/// Of somebody else.
pub(crate) const OTHER_ISS: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2V2aWwuZXhhbXBsZSIsImF1ZCI6ImFwaSIsInN1YiI6ImFubiIsImV4cCI6NDEwMjQ0NDgwMCwicm9sZXMiOlsiYSIsImIiXSwiYWdlIjo3LCJhZG1pbiI6dHJ1ZSwibmFtZSI6IkpcdTAwZmNyZ2VuIn0.hgposGCNqfM0qlSuOMY0_sPQwQKccalxQzaVLIPKbv5WdaZyfAQk44dgRxK6WnohblOeVsu8-WyRGGwNSee5Dw";
/// For nobody.
pub(crate) const NO_AUD: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.9tSarVfpHBfb9Jtg6on3wWM-j07j2N-QPQAOv_5KnJA6-DrjgvZZ1lqbsvckWBLkykiGABo1TwUh-5ODMzWrCA";
/// For somebody else.
pub(crate) const OTHER_AUD: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJ3ZWIiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.W3HKrCBu3US3mLbngfxC0zLbqduegxVy7yUWvAYdrcyKv1euyrQaPCZCf5AlKTkWvKX7_uzLoIohnYCulsMrAw";
/// For two.
pub(crate) const AUD_LIST: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOlsid2ViIiwiYXBpIl0sInN1YiI6ImFubiIsImV4cCI6NDEwMjQ0NDgwMCwicm9sZXMiOlsiYSIsImIiXSwiYWdlIjo3LCJhZG1pbiI6dHJ1ZSwibmFtZSI6IkpcdTAwZmNyZ2VuIn0.bjAEA1cKe8eRWV6ncbT0qXR9w7fXz3ea1Mq_iDF-sPWdYxgviGoJ21cuYVOgMk0Zq-hOLPIbxTdaHml-gGUeCg";
/// By another key that says it is that one.
pub(crate) const OTHER_KEY: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkIn0.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.lSe2cKqusgWNaQX7FN-Z2gc8GNC6HK3I__LQI_ljLgxz0TTb2fKs7iI6fnrTS02uIy33xa3ofBpJWrYxazXeAQ";
/// By the right key under another name.
pub(crate) const OTHER_KID: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsImtpZCI6ImVkMiJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.nHpPzneOKK_xHH2pyn1RtYSyZIHu_tl3pKcwhqB4m_zeJZqtuhC7ttp7AOp6n-U7wNel4w4pOSAnTB19tCylCg";
/// With `alg` `none`.
pub(crate) const UNSIGNED: &str = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIiwia2lkIjoiZWQifQ.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.";
/// By HS256 with the public RSA key as its secret.
pub(crate) const CONFUSED: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6InJzYSJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJhdWQiOiJhcGkiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImEiLCJiIl0sImFnZSI6NywiYWRtaW4iOnRydWUsIm5hbWUiOiJKXHUwMGZjcmdlbiJ9.aM90JpaxFrwTwgoEhB1M8PlqSQQJkNLnm-n0vAXn_cI";
