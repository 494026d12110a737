#pragma once
// Where an output grows: in a folder beside it, made by this run alone. Complete files are moved from there under their
// names; what had such a name is there until then. A run that is killed leaves its folder, and another can go on in it.
#include "files.hpp"

#include <cstdlib>
#include <optional>

class work_folder {
public:
    /// A new one. mkdtemp() takes no name that is in use, follows no link, and lets nobody else in.
    explicit work_folder(const std::string& output) : path_(prefix_of(output) + "XXXXXX") {
        if (::mkdtemp(path_.data()) == nullptr) fail_with_errno(path_);
        left_ = false;
        lock_.emplace(path_, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        static_cast<void>(lock());
    }
    work_folder(work_folder&& other) noexcept
        : path_(std::exchange(other.path_, {})),
          lock_(std::move(other.lock_)),
          left_(std::exchange(other.left_, true)) {}
    ~work_folder() {
        std::error_code ignored;
        if (!left_) std::filesystem::remove_all(path_, ignored);
    }

    /// One that an earlier run left; none when another process works in it.
    static std::optional<work_folder> take(const std::string& path) {
        work_folder folder;
        folder.path_ = path;
        folder.lock_.emplace(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
        if (!folder.lock()) return std::nullopt;
        folder.left_ = false;
        return folder;
    }
    /// Folders beside an output that have the names of its work folders. Whether they are is said by what is in them.
    static std::vector<std::string> candidates(const std::string& output) {
        const std::filesystem::path prefix = prefix_of(output);
        const std::string name = prefix.filename();
        std::vector<std::string> found;
        std::error_code none;
        const auto beside = prefix.parent_path();
        for (std::filesystem::directory_iterator at(beside.empty() ? "." : beside, none), end; !none && at != end;
             at.increment(none)) {
            const std::string other = at->path().filename();
            if (other.size() == name.size() + 6 && other.starts_with(name) && is_own_folder(at->path()))
                found.push_back(beside / other);
        }
        std::ranges::sort(found);
        return found;
    }

    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] std::string path_of(const std::string& name) const { return path_ + "/" + name; }
    [[nodiscard]] descriptor open(const std::string& name) const {
        return {path_of(name), O_RDWR | O_CREAT | O_NOFOLLOW};
    }

    /// Gives a complete file its name.
    void keep(const descriptor& file, const std::string& target) const {
        if (::fsync(file.number()) != 0) fail_with_errno(file.path());
        std::filesystem::rename(file.path(), target);
    }
    /// The folder stays, for another run to go on in.
    void leave() { left_ = true; }

private:
    work_folder() = default;
    static std::string prefix_of(const std::string& output) {
        const std::filesystem::path path(output);
        const std::string name = path.filename().string().substr(0, 200);  // file systems allow names of 255 bytes
        return (path.parent_path() / (name + ".unfinished-")).string();
    }
    static bool is_own_folder(const std::string& path) {
        struct stat info {};
        return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::geteuid();
    }
    [[nodiscard]] bool lock() const { return ::flock(lock_->number(), LOCK_EX | LOCK_NB) == 0; }

    std::string path_;
    std::optional<descriptor> lock_;
    bool left_ = true;
};

/// Writes a small file at once.
inline void write_file(const std::string& path, std::string_view text) {
    const work_folder work(path);
    const descriptor file = work.open("text");
    file.write(0, std::as_bytes(std::span(text)));
    work.keep(file, path);
}
