#pragma once
// A file that one of qlib's writers fills from its start to its end.
#include "failure.hpp"
#include "files.hpp"

#include <exception>

/// The writers pass on no exceptions: what the operating system refused, as when a disk is full, is kept for check().
class file_sink {
public:
    explicit file_sink(const descriptor& file) : file_(file) {}
    bool operator()(std::span<const std::byte> bytes) noexcept try {
        file_.write(at_, bytes);
        at_ += bytes.size();
        return true;
    } catch (...) {
        refused_ = std::current_exception();
        return false;
    }
    /// A writer's status, about what `name` says.
    void check(const qlib::status& s, std::string_view name) const {
        if (refused_) std::rethrow_exception(refused_);
        ::check(s, name);
    }

private:
    const descriptor& file_;
    std::uint64_t at_ = 0;
    std::exception_ptr refused_;
};
