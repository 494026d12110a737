#pragma once
// SHA-256, by OpenSSL, of data that come piece by piece.
#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

class sha256 {
public:
    sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
        if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1)
            throw std::runtime_error("OpenSSL gives no SHA-256");
    }
    void add(std::span<const std::byte> bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
    /// The digest in hexadecimal. The object is used up.
    [[nodiscard]] std::string hex() {
        std::array<unsigned char, 32> digest{};
        EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
        std::string text;
        for (const unsigned char byte : digest) {
            text += "0123456789abcdef"[byte >> 4];
            text += "0123456789abcdef"[byte & 15];
        }
        return text;
    }

private:
    std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

[[nodiscard]] inline std::string sha256_of(std::span<const std::byte> bytes) {
    sha256 hash;
    hash.add(bytes);
    return hash.hex();
}
