#pragma once
// A folder that appears whole or not at all: it is made beside its place, and renamed at the end. One that was there
// before stays as it is until then. What a process that died leaves behind can be taken up again.
#include "../common/files.hpp"
#include "checkpoint_folder.hpp"

#include <cstdio>
#include <optional>
#include <set>

class staged_folder {
public:
    /// target  the folder to be: it must not exist, or hold only files that are to be replaced
    /// files   all that will be written, relative to it
    /// resume  keeps what an earlier run left
    /// error   a target with other files in it; a folder in the way that no earlier run left; another process at work
    staged_folder(const fs::path& target, const std::vector<fs::path>& files, bool resume)
        : target_(checkpoint_files::real_path(target)),
          inside_(must_be_inside(target_)),
          path_(place(target_, inside_)),
          files_(files.begin(), files.end()) {
        check_target();
        open();
        if (!resume) clear();
    }
    /// Where to write.
    [[nodiscard]] const fs::path& path() const { return path_; }

    /// The target is now what was written.
    void keep() const {
        for (const fs::path& file : checkpoint_files::all_in(path_))
            if (is_stray(file)) remove_stray(file);
        if (inside_) move_files();
        else if (!fs::exists(target_)) fs::rename(path_, target_);
        else exchange();
        fs::remove(target_ / mark);  // last: until then it is known as ours
    }
    void discard() const {
        fs::remove_all(path_);
        std::error_code not_empty;
        for (const fs::path& folder : made_) fs::remove(folder, not_empty);
    }
    /// Whether there is more in it than the target's files: work that a later run could go on with.
    [[nodiscard]] bool holds_work() const {
        const std::vector<fs::path> files = checkpoint_files::all_in(path_);
        return std::ranges::any_of(files, [&](const fs::path& file) { return is_stray(file); });
    }

private:
    static constexpr const char *ending = ".being-quantized", *mark = "written-by-quantize";

    /// Whether the target has to be written into: it is another disk's root, or its own folder is not ours to write in.
    static bool must_be_inside(const fs::path& target) {
        struct stat its = {}, above = {};
        if (::stat(target.c_str(), &its) != 0) return false;
        const std::string parent = target.parent_path();
        return ::stat(parent.c_str(), &above) != 0 || its.st_dev != above.st_dev || ::access(parent.c_str(), W_OK) != 0;
    }
    static fs::path place(const fs::path& target, bool inside) {
        return inside ? target / ending : fs::path(target.string() + ending);
    }
    [[nodiscard]] fs::path marker() const { return path_ / mark; }

    [[nodiscard]] bool is_stray(const fs::path& file) const { return file != mark && !files_.contains(file); }
    /// What an earlier run for another model left, and folders that are empty without it.
    void remove_stray(fs::path file) const {
        for (; !file.empty(); file = file.parent_path()) {
            fs::remove(path_ / file);
            if (!fs::is_empty((path_ / file).parent_path())) return;
        }
    }

    void check_target() const {
        if (fs::is_symlink(target_)) throw std::runtime_error(target_.string() + ": it is a link to nothing");
        if (!fs::exists(target_)) return;
        if (!fs::is_directory(target_))
            throw std::runtime_error(target_.string() + ": it is a file; a checkpoint is a folder");
        for (auto at = checkpoint_files::inside(target_); at != fs::recursive_directory_iterator(); ++at) {
            if (inside_ && at->path() == path_) at.disable_recursion_pending();
            if (at->is_directory() && !at->is_symlink()) continue;
            const fs::path name = at->path().lexically_relative(target_);
            if (!files_.contains(name) && !name.string().ends_with(".manifest.json"))
                throw std::runtime_error(target_.string() + ": there is " + name.string() +
                                         " in it, which would stay or be lost: give a new folder, or empty this one");
        }
    }
    /// Makes the folder, or takes over one that holds our marker, or nothing.
    void open() {
        for (fs::path above = path_.parent_path(); !fs::exists(above); above = above.parent_path())
            made_.push_back(above);
        fs::create_directories(path_.parent_path());
        if (!fs::create_directory(path_) &&
            (fs::is_symlink(path_) || !fs::is_directory(path_) || (!fs::is_empty(path_) && !fs::exists(marker()))))
            throw std::runtime_error(path_.string() + ": it is in the way, and quantize did not leave it there");
        lock_.emplace(marker(), O_RDWR | O_CREAT | O_NOFOLLOW);
        if (::flock(lock_->number(), LOCK_EX | LOCK_NB) != 0)
            throw std::runtime_error(path_.string() + ": another process is writing it");
    }
    void clear() const {
        for (const auto& entry : fs::directory_iterator(path_))
            if (entry.path() != marker()) fs::remove_all(entry.path());
    }
    /// Our folder takes the target's place, at once where the file system can do that.
    void exchange() const {
#ifdef RENAME_EXCHANGE
        if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) {
            fs::remove_all(path_);
            return;
        }
#endif
        const fs::path old = path_.string() + ".replaced";
        fs::rename(target_, old);
        std::error_code refused;
        fs::rename(path_, target_, refused);
        if (refused) fs::rename(old, target_);
        if (refused) throw fs::filesystem_error("the folder cannot get its name", path_, target_, refused);
        fs::remove_all(old);
    }
    void move_files() const {
        for (const fs::path& file : checkpoint_files::all_in(path_)) {
            fs::create_directories((target_ / file).parent_path());
            fs::rename(path_ / file, target_ / file);
        }
        fs::remove_all(path_);
    }

    fs::path target_;
    bool inside_;
    fs::path path_;
    std::set<fs::path> files_;
    std::vector<fs::path> made_;  // above it, the deepest first
    std::optional<descriptor> lock_;
};
